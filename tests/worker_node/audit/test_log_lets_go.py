"""What a log holds is let go: file, thread, errors; and a file put aside is in its folder."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from shared.errors import StorageError
from tests.worker_node.audit.writing import write_log
from worker_node.audit.lines import Entry
from worker_node.audit.log import AuditLog
from worker_node.audit.reading import verify


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
    path.with_name("audit.jsonl.123456").touch()
    for _ in range(3):
        write_log(path, lines=5, rotate_bytes=1)
    assert path.with_name("audit.jsonl.123457").is_file()
    assert path.with_name("audit.jsonl.123458").is_file()


def record(path: Path, scene: Callable[[AuditLog], Awaitable[None]], **options: Any) -> None:
    async def act() -> None:
        log = AuditLog(path, **options)
        await log.record(Entry("train"))
        await scene(log)
        await log.close()

    asyncio.run(act())


def test_a_line_that_need_not_be_on_disk_leaves_the_anchor_as_it_was(path: Path) -> None:
    async def scene(log: AuditLog) -> None:
        before = anchor.read_bytes()  # some bytes
        await log.record(Entry("keep"), durable=False)
        assert anchor.read_bytes() == before
        await log.record(Entry("keep"))
        assert anchor.read_bytes() != before

    anchor = path.with_name("audit.jsonl.anchor")
    record(path, scene)


def test_an_anchor_that_is_made_again_is_its_owners_alone(path: Path) -> None:
    async def scene(log: AuditLog) -> None:
        anchor.unlink()
        await log.record(Entry("keep"))
        assert anchor.stat().st_mode & 0o777 == 0o600

    anchor = path.with_name("audit.jsonl.anchor")
    record(path, scene)


def test_half_a_line_that_could_not_be_taken_back_goes_before_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails at one call may fail at the next: both, and then it is there again."""
    pwrite, ftruncate = os.pwrite, os.ftruncate
    written: list[int] = []

    def half(file: int, data: bytes, at: int) -> int:
        written.append(pwrite(file, data[:-1], at))  # longer than the next line
        raise OSError(5, "Input/output error")

    def before_it(file: int, size: int) -> None:
        if written:
            raise OSError(5, "Input/output error")
        ftruncate(file, size)

    async def scene(log: AuditLog) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(os, "pwrite", half)
            broken.setattr(os, "ftruncate", before_it)
            with pytest.raises(StorageError, match="Input/output error"):
                await log.record(Entry("train", detail="d" * 300, object="o" * 300))
        await log.record(Entry("keep"))

    record(path, scene)
    found = verify(path, None)
    assert (found.last, found.fault) == (2, "")
    assert path.read_bytes().endswith(b"\n")
    write_log(path, lines=5)  # and nothing is said of a crash, for nothing is behind it


def test_a_new_file_that_somebody_else_has_is_told_as_that(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*_: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    async def scene(log: AuditLog) -> None:
        with monkeypatch.context() as broken:
            broken.setattr("worker_node.audit.log.fcntl.flock", taken)
            with pytest.raises(StorageError, match=r"^another node writes") as caught:
                await log.record(Entry("train"))
        assert "--audit-log" in str(caught.value)

    record(path, scene, rotate_bytes=1)
