"""RL in miniature by the command itself: from a base to a report, and killed inside RL and resumed, the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import command
import pytest

EXPERIMENT = [
    f"--config={command.EXPERIMENT}:safety=rl",
    "--config.reasoning=()",
    "--config.distillation.sampled=False",
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run left alone, and what it printed."""
    workdir = tmp_path_factory.mktemp("alone") / "workdir"
    code, output = command.run(*EXPERIMENT, f"--workdir={workdir}", "--config.save_every=1000")
    assert code == 0, output
    return workdir, output


def rows(workdir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workdir / "results.jsonl").read_text().splitlines()]


def test_a_run_leaves_what_rl_logged_and_what_it_was_trained_against(alone: tuple[Path, str]) -> None:
    workdir, output = alone
    assert "base_rl: estimated memory" in output
    found = rows(workdir)
    logged = {row["metric"] for row in found if row["arm"] == "base_rl"}
    assert {"rl_score", "rl_kl", "rl_entropy", "rl_value_loss", "rl_ended_rate", "rl_logprob_gap"} <= logged
    assert {row["step"] for row in found if (row["arm"], row["metric"]) == ("base_rl", "preference_score")} == {0, 3, 6}
    kinds = {row["split"] for row in found if row["metric"] == "preference_accuracy"}
    assert {"all", "helpful", "harmless", "honest", "civil", "novel"} <= kinds
    assert {"reinforced.png", "preference.png"} <= {path.name for path in (workdir / "figures").iterdir()}


def test_killed_in_rl_and_resumed_it_leaves_the_same_bytes(alone: tuple[Path, str], tmp_path: Path) -> None:
    arguments = [*EXPERIMENT, f"--workdir={tmp_path / 'killed'}", "--config.save_every=10"]  # every second iteration
    code, output = command.run(*arguments, killed_at="rollout:6")
    assert code == -9, output
    code, output = command.run(*arguments)
    assert code == 0, output
    assert "resuming base_rl at step 4" in output
    for name in ("results.jsonl", "samples.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (alone[0] / name).read_bytes()
