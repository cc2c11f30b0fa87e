"""A limit on this process's memory, which the system keeps."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

log = logging.getLogger("fedsms.node")


def limit_memory(megabytes: int) -> None:
    """From now on the process gets so much more memory for data, and then errors instead of it.

    Pointer operations make tensors of any size in this process; a system without memory would end
    it, or another. Linux alone counts what is needed here; elsewhere nothing is limited.
    """
    if sys.platform != "linux":
        log.warning("this system does not limit the memory of pointer operations")
        return
    import resource

    status = Path("/proc/self/status").read_text(encoding="ascii")
    (kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmData"))
    most = int(kilobytes) * 1024 + megabytes * 2**20
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
