"""A run that is killed again and again, resumed each time, ends with the bytes of one that was left alone."""

from __future__ import annotations

import itertools
import random
import time
from pathlib import Path
from typing import NamedTuple

import command
import pytest

EXPERIMENT = [f"--config={command.EXPERIMENT}", "--config.reasoning=cot"]

#: Where each process dies, in order, and the seeded ranges in which the moment is drawn; the last ones run to the end.
MOMENTS = (
    ("train", 22, 40),  # pretraining, with two checkpoints to resume from
    ("save", 1, 3),
    ("train", 42, 60),  # planting, past a checkpoint, after the rest of pretraining
    ("generate", 1, 1),  # the scratchpads of post safety training
    ("save", 2, 3),  # the first snapshots of safety training
    ("evaluate", 2, 6),  # some of a safety arm's points are measured
    ("evaluate", 1, 3),  # of that arm or the next
)


class Death(NamedTuple):
    """What a killed process left."""

    moment: str
    code: int
    output: str
    half_saved: list[str]  # checkpoints that never came to their place
    whole: list[Path]  # checkpoints to resume from, newest first


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run left alone, which saves no checkpoint to resume from."""
    workdir = tmp_path_factory.mktemp("alone") / "workdir"
    code, output = command.run(*EXPERIMENT, f"--workdir={workdir}", "--config.save_every=1000")
    assert code == 0, output
    return workdir


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Death], str]:
    """The folder of a run killed at every moment, the deaths, and what the process that finished it printed.

    After the first death the newest checkpoint is cut short too.
    """
    workdir = tmp_path_factory.mktemp("killed") / "workdir"
    arguments = [*EXPERIMENT, f"--workdir={workdir}", "--config.save_every=7"]
    rng = random.Random(0)
    deaths = []
    for moment, first, last in MOMENTS:
        at = f"{moment}:{rng.randint(first, last)}"
        code, output = command.run(*arguments, killed_at=at)
        half = [path.name for path in workdir.glob("stages/*/*/*tmp*")]
        whole = [path for path in workdir.glob("stages/*/resume/*") if path.name.isdigit()]
        whole.sort(key=lambda path: -int(path.name))
        if not deaths:
            cut_short(whole[0])
        deaths.append(Death(at, code, output, half, whole))
    code, output = command.run(*arguments)
    assert code == 0, output
    return workdir, deaths, output


def cut_short(checkpoint: Path) -> None:
    """Keep but the first bytes of a checkpoint's largest file."""
    largest = max((path for path in checkpoint.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:64])


def test_the_results_are_those_of_a_run_left_alone_byte_for_byte(
    killed: tuple[Path, list[Death], str], uninterrupted: Path
) -> None:
    workdir, deaths, _ = killed
    assert [death.code for death in deaths] == [-9] * len(MOMENTS), [death.moment for death in deaths]
    for name in ("results.jsonl", "samples.jsonl"):
        assert (workdir / name).read_bytes() == (uninterrupted / name).read_bytes()


def test_every_process_goes_on_where_the_one_before_it_died(killed: tuple[Path, list[Death], str]) -> None:
    _, deaths, last = killed
    outputs = [*(death.output for death in deaths), last]
    for before, after in itertools.pairwise(outputs):
        *finished, interrupted = command.ran(before)
        assert command.ran(after)[0] == interrupted
        assert not set(command.ran(after)) & set(finished)
        assert "which has ended" in after  # the lease of the dead process was taken over at once
    assert sum("resuming " in output for output in outputs) >= 3


def test_a_save_cut_off_is_not_taken_for_a_checkpoint(killed: tuple[Path, list[Death], str]) -> None:
    workdir, deaths, _ = killed
    saves = [death for death in deaths if death.moment.startswith("save")]
    assert saves
    assert all(death.half_saved for death in saves)
    assert not list(workdir.glob("stages/*/*/*tmp*"))
    assert not list(workdir.glob("stages/*/resume"))


def test_a_damaged_checkpoint_is_passed_over_for_the_whole_one_before_it(
    killed: tuple[Path, list[Death], str],
) -> None:
    _, deaths, _ = killed
    newest, before = deaths[0].whole
    output = deaths[1].output
    assert f"checkpoint {newest} cannot be read" in output
    assert "trying the one before it" in output
    assert f"resuming base at step {before.name}" in output
    assert "Traceback" not in output


def test_two_processes_at_once_share_the_work_and_both_finish(tmp_path: Path) -> None:
    arguments = [
        f"--config={command.EXPERIMENT}:safety=none",
        "--config.reasoning=cot",
        f"--workdir={tmp_path / 'both'}",
    ]
    processes = [command.start(*arguments)]
    while processes[0].poll() is None and not list(tmp_path.glob("both/stages/*/LEASE")):
        time.sleep(0.05)
    processes.append(command.start(*arguments))
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    done = [name for output in outputs for name in command.ran(output)]
    expected = {f"{arm}{stage}" for arm in ("base", "cot", "cot_twin") for stage in ("", "_evaluation")}
    assert sorted(done) == sorted(expected)  # each once
    assert {"results.jsonl", "report.html"} <= {path.name for path in (tmp_path / "both").iterdir()}
    assert len((tmp_path / "both" / "results.jsonl").read_text().splitlines()) > 100
