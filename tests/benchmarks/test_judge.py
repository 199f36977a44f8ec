from __future__ import annotations

import pytest

from benchmarks import fuzz_judge, judge


def test_the_benchmark_prints_its_speed_for_samples_that_differ(capsys: pytest.CaptureFixture[str]) -> None:
    assert len({sample.code for sample in judge.samples(700)}) == 700
    assert judge.main(["--count=30"]) == 0
    assert "samples/s by the clock" in capsys.readouterr().out


def test_the_fuzzer_prints_what_came_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz_judge.main(["--count=40", "--seed=3"]) == 0
    assert "meanwhile: nothing" in capsys.readouterr().out
