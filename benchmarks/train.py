"""`python -m benchmarks.train`: our train step beside a plain torch loop over transformers' model.

Both take AdamW steps with gradient clipping on one batch of full rows, loss on every token, weights in float32.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.compare import Call, Measured, compare, main, parser
from benchmarks.shapes import SHAPES


def run(arguments: Sequence[str], call: Call | None = None) -> list[Measured]:
    """Run the benchmark; `call` as in `compare`. Raises `UserError`."""
    made = parser(
        "train",
        "Time our train step beside transformers' on torch.",
        batch="8",
        ours="bfloat16:dots,bfloat16:layer,float32:dots",
    )
    made.add_argument("--length", type=int, default=128, metavar="N", help="tokens in a row [128]")
    made.add_argument("--steps", type=int, default=2, metavar="N", help="optimizer steps in a repetition [2]")
    options = made.parse_args(arguments)

    def gigaflops(one: Measured) -> float:
        """Three forward passes' worth of the matrices; attention scores and what remat repeats are left out."""
        return 3 * SHAPES[options.shape].flops_per_token * one.speed / 1e9

    return compare("train", options, {"length": options.length, "steps": options.steps}, gigaflops, "GFLOP/s", call)


if __name__ == "__main__":
    sys.exit(main(run, None))
