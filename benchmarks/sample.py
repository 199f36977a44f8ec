"""`python -m benchmarks.sample`: our sampler beside transformers' `generate`.

Both answer one batch of equally long prompts at temperature 1, prefill included, with as many new tokens in every row.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.compare import Call, Measured, compare, main, parser

#: Of a number of a type.
BYTES = {"bfloat16": 2, "float32": 4}


def gigabytes(one: Measured) -> float:
    """Weights read a second, if each new token of the batch reads them all once; the cache is left out."""
    return one.parameters * BYTES[one.contender.dtype] * one.speed / one.batch / 1e9


def run(arguments: Sequence[str], call: Call | None = None) -> list[Measured]:
    """Run the benchmark; `call` as in `compare`. Raises `UserError`."""
    made = parser("sample", "Time our sampler beside transformers' generate.", batch="8,64", ours="bfloat16,float32")
    made.add_argument("--prompt", type=int, default=32, metavar="N", help="tokens of a prompt [32]")
    made.add_argument("--new", type=int, default=64, metavar="N", help="tokens sampled after it [64]")
    options = made.parse_args(arguments)
    return compare("sample", options, {"prompt": options.prompt, "new": options.new}, gigabytes, "GB/s", call)


if __name__ == "__main__":
    sys.exit(main(run, None))
