"""A log that is opened again: after a line that a crash cut short, or with older files alone."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from shared.errors import StorageError
from tests.worker_node.audit.writing import write_log
from worker_node.audit.lines import MAX_LINE_BYTES, Entry
from worker_node.audit.log import AuditLog, NoAudit, older_files
from worker_node.audit.reading import lines_of, verify


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in lines_of(path)]


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.mark.parametrize("torn", [b"x", b'{"n": 6', b"y" * (MAX_LINE_BYTES - 1)])
def test_what_a_crash_left_of_a_line_goes_and_the_log_goes_on(
    path: Path, torn: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    write_log(path, lines=5)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)

    async def scene() -> bytes:
        log = AuditLog(path)
        left = await asyncio.to_thread(path.read_bytes)  # before anything is written
        assert log.place.n == 5
        await log.close()
        return left

    assert asyncio.run(scene()) == whole
    assert "cut short by a crash" in caplog.text
    write_log(path, lines=5)
    assert numbers(path) == list(range(1, 11))
    assert verify(path, None).fault == ""


def test_a_log_that_was_left_in_order_says_nothing_of_a_crash(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_log(path, lines=5)
    write_log(path, lines=5)
    assert "crash" not in caplog.text


def test_long_lines_and_many_are_gone_on_from_too(path: Path) -> None:
    async def scene() -> None:
        log = AuditLog(path)
        for _ in range(40):
            await log.record(Entry("train", detail="d" * 300, object="o" * 300))
        await log.close()
        again = AuditLog(path)
        assert again.place.n == 40
        await again.close()

    run(scene())
    assert path.stat().st_size > 2 * MAX_LINE_BYTES


def test_the_newest_of_the_older_files_says_where_it_goes_on(path: Path) -> None:
    """Killed after a file was put aside, and before the first line of the next."""
    for _ in range(3):
        write_log(path, rotate_bytes=1500)
    assert len(older_files(path)) >= 2
    path.rename(path.with_name(f"audit.jsonl.{len(older_files(path)) + 1:06d}"))
    write_log(path, lines=5)
    assert numbers(path) == list(range(1, 66))
    assert verify(path, None).fault == ""


def test_files_beside_it_that_are_none_of_its_own_are_passed_over(path: Path) -> None:
    for name in ("audit.jsonl.old", "audit.jsonl.", "audit.jsonl.1x", "other.000001"):
        path.with_name(name).touch()
    path.with_name("audit.jsonl.7").touch()
    assert [one.name for one in older_files(path)] == ["audit.jsonl.7"]


def test_a_folder_is_made_and_its_anchor_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "audit.jsonl"
    write_log(path, lines=5)
    anchor = path.with_name("audit.jsonl.anchor")
    anchor.unlink()
    path.unlink()
    write_log(path, lines=5)
    assert stat.S_IMODE(anchor.stat().st_mode) == 0o600


def test_what_was_opened_is_let_go_also_where_it_could_not_be_begun(path: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    write_log(path, lines=5)
    path.write_bytes(b"damaged\n")
    for _ in range(3):
        with pytest.raises(StorageError, match="is not as this node left it"):
            AuditLog(path)

    path.with_name("audit.jsonl.anchor").unlink()
    path.unlink()

    async def closed_twice() -> None:
        log = AuditLog(path)
        await log.record(Entry("keep"))
        await log.close()
        await log.close()
        another = AuditLog(path)  # the lock is free
        await another.close()

    run(closed_twice())
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_a_log_that_is_off_keeps_nothing(tmp_path: Path) -> None:
    run(NoAudit().record(Entry("keep")))
    assert list(tmp_path.iterdir()) == []


def test_a_line_waits_for_the_disk_unless_it_is_told_not_to(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fdatasync

    def sync(file: int) -> None:
        synced.append(file)
        real(file)

    monkeypatch.setattr(os, "fdatasync", sync)

    async def scene() -> None:
        log = AuditLog(path)
        synced.clear()
        await log.record(Entry("keep"), durable=False)
        assert synced == []
        await log.record(Entry("keep"))
        assert len(synced) == 1
        await log.close()

    run(scene())
