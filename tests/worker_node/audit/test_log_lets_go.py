"""What a log holds is let go: file, thread, errors; and a file put aside is in its folder."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from shared.errors import StorageError
from tests.worker_node.audit.writing import write_log
from worker_node.audit.lines import Entry
from worker_node.audit.log import AuditLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def opened() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_log_whose_file_cannot_be_read_is_let_go(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(path, lines=5)
    before = opened()

    def fails(*_: Any) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pread", fails)
        with pytest.raises(StorageError, match="Input/output error"):
            AuditLog(path)
    assert opened() == before
    write_log(path, lines=5)  # for the lock is free


def test_a_log_ends_with_its_thread_and_says_where_it_is(path: Path) -> None:
    async def scene() -> None:
        log = AuditLog(path)
        assert log.path == path
        await log.record(Entry("train"))
        assert any(one.name.startswith("audit-log") for one in threading.enumerate())
        await log.close()
        assert not any(one.name.startswith("audit-log") for one in threading.enumerate())

    asyncio.run(scene())


def test_an_error_that_nobody_waits_for_any_more_is_nobodys(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its asker has gone, and asyncio has nothing to complain of."""
    said: list[dict[str, Any]] = []

    def fails(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    async def scene() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        log = AuditLog(path)
        monkeypatch.setattr(os, "pwrite", fails)
        asking = asyncio.create_task(log.record(Entry("train")))
        await asyncio.sleep(0)
        asking.cancel()
        await log.close()
        await asyncio.gather(asking, return_exceptions=True)
        del asking
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(scene())
    assert said == []


def test_a_file_that_was_put_aside_is_in_its_folder_before_a_line_is_in_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, pwrite, rename = os.fsync, os.pwrite, Path.rename

    def syncs(file: int) -> None:
        fsync(file)
        if os.fstat(file).st_ino == path.parent.stat().st_ino:
            events.append("folder synced")

    def writes(file: int, data: bytes, at: int) -> int:
        if path.exists() and os.fstat(file).st_ino == path.stat().st_ino:
            events.append(f"written at {at}")
        return pwrite(file, data, at)

    def renames(one: Path, to: Path) -> Path:
        events.append(f"renamed to {to.name}")
        return rename(one, to)

    async def scene() -> None:
        log = AuditLog(path, rotate_bytes=1)
        await log.record(Entry("train"))
        events.clear()
        monkeypatch.setattr(os, "fsync", syncs)
        monkeypatch.setattr(os, "pwrite", writes)
        monkeypatch.setattr(Path, "rename", renames)
        await log.record(Entry("train"))
        await log.close()

    asyncio.run(scene())
    assert events == ["renamed to audit.jsonl.000001", "folder synced", "written at 0"]


def test_files_are_numbered_on_from_the_highest(path: Path) -> None:
    path.with_name("audit.jsonl.000007").touch()
    for _ in range(3):
        write_log(path, lines=5, rotate_bytes=1)
    assert path.with_name("audit.jsonl.000008").is_file()
    assert path.with_name("audit.jsonl.000009").is_file()
