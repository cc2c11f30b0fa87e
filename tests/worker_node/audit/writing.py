"""An audit log of so many lines, for tests to tamper with."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from worker_node.audit.lines import Entry
from worker_node.audit.log import AuditLog


def write_log(path: Path, lines: int = 20, **options: Any) -> None:
    async def write() -> None:
        log = AuditLog(path, **options)
        for start in range(0, lines, 5):
            batch = (Entry("keep", object=str(number)) for number in range(start, start + 5))
            await asyncio.gather(*(log.record(entry, durable=True) for entry in batch))
        await log.close()

    asyncio.run(write())
