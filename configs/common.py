"""Arguments of a config file, typed by their defaults and refused when unknown.

`configs/cot_backdoor.py:model=world_4m,seed=1` hands "model=world_4m,seed=1" to `get_config`, which names
its arguments in a call of `parse_arg`.
"""

from __future__ import annotations

import ast
import difflib
from typing import Any

from ml_collections import ConfigDict


def parse_arg(arg: str | None, **defaults: Any) -> ConfigDict:
    """Read "key=value,key=value", each value typed by its default; a bare key is a boolean set to True.

        args = parse_arg(arg, model="world_1m", seed=0, sees_trigger=False)

    Raises:
      ValueError: a key that is not among the defaults, given twice, or a value of another type.
    """
    found: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in (arg or "").split(","))):
        key, equals, text = item.partition("=")
        if key not in defaults:
            near = difflib.get_close_matches(key, defaults, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}? " if near else ""
            takes = ", ".join(f"{name}={value}" for name, value in defaults.items()) or "none"
            raise ValueError(f"unknown argument {key!r}: {hint}The arguments and their defaults are {takes}.")
        if key in found:
            raise ValueError(f"argument {key!r} is given twice: keep one of them.")
        if not equals and not isinstance(defaults[key], bool):
            raise ValueError(f"argument {key!r} needs a value, as in {key}={defaults[key]}.")
        found[key] = _typed(key, text if equals else "true", defaults[key])
    return ConfigDict({**defaults, **found})


def _typed(key: str, text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval(text.title() if isinstance(default, bool) else text)
    except (ValueError, SyntaxError):
        value = None
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if default is not None and type(value) is not type(default):
        kind = type(default).__name__
        raise ValueError(f"argument {key}={text} must be of type {kind}, as in {key}={default}.")
    return value if value is not None else text
