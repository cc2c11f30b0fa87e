"""Limits on this process's memory and time, which the system keeps."""

from __future__ import annotations

import ctypes
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PERTURB = -6  # M_PERTURB of malloc.h


def limit_memory(megabytes: int) -> None:
    """From now on the process gets so much more memory for data, and then errors instead of it.

    Linux alone counts what is needed here; elsewhere nothing is limited.
    """
    if sys.platform != "linux":
        return
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmData"))
    most = int(kilobytes) * 1024 + megabytes * 2**20
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def fill_memory() -> None:
    """Memory that this process gets from now on holds the same bytes, whatever it held before.

    Some operations of torch's read what nobody wrote. Where the C library is not glibc, nothing is
    filled.
    """
    change: Any = getattr(ctypes.CDLL(None), "mallopt", None)
    if change is not None and sys.platform == "linux":
        change(_PERTURB, 0xFF)  # glibc writes the complement, which is 0


def leave_no_core() -> None:
    """What ends this process leaves no file with its memory, and the rows in it, behind."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Ends this process, by SIGALRM, where what follows takes longer.

    No handler of Python's can interrupt an operation of torch's; the signal's default does.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
