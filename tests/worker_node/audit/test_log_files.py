"""The files of an audit log: put aside at a size, their owners' alone, written whole."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import StorageError
from tests.worker_node.audit.writing import write_log
from worker_node.audit.lines import Entry
from worker_node.audit.log import AuditLog
from worker_node.audit.reading import verify


def files(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


def test_a_file_is_put_aside_when_it_has_reached_its_size_and_the_next_number_goes_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit.jsonl"
    write_log(path, lines=5)
    size = path.stat().st_size
    write_log(path, lines=5, rotate_bytes=size + 1)
    assert files(path) == ["audit.jsonl", "audit.jsonl.anchor"]
    size = path.stat().st_size
    write_log(path, lines=5, rotate_bytes=size)
    assert files(path) == ["audit.jsonl", "audit.jsonl.000001", "audit.jsonl.anchor"]
    assert path.with_name("audit.jsonl.000001").read_bytes().count(b"\n") == 10
    write_log(path, lines=5, rotate_bytes=1)
    assert "audit.jsonl.000002" in files(path)
    assert verify(path, None).last == 20
    assert verify(path, None).fault == ""


def test_a_log_that_cannot_be_put_aside_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"

    async def scene() -> None:
        log = AuditLog(path, rotate_bytes=1)
        await log.record(Entry("greet"))
        opens = os.open

        def refuses(name: Any, flags: int, *rest: Any) -> int:
            if Path(name) == path:
                raise OSError(24, "too many open files")
            return opens(name, flags, *rest)

        with monkeypatch.context() as broken:
            broken.setattr(os, "open", refuses)
            with pytest.raises(StorageError):
                await log.record(Entry("train"))
        assert "audit.jsonl.000001" not in files(path)
        await log.record(Entry("train"))
        await log.close()

    asyncio.run(scene())
    assert verify(path, None).last == 2
    assert verify(path, None).fault == ""


def test_all_files_of_a_log_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write_log(path, lines=10, rotate_bytes=1)
    modes = {one.name: one.stat().st_mode & 0o777 for one in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}
    assert len(modes) >= 3


@pytest.mark.parametrize("lead", [lambda path: path.symlink_to("elsewhere"), Path.mkdir])
def test_a_log_is_not_written_through_a_link_or_into_a_folder(
    lead: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    lead(path)
    with pytest.raises(StorageError):
        AuditLog(path)
    assert not (tmp_path / "elsewhere").exists()


def test_what_a_coordinator_says_fills_no_more_than_300_letters_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"

    async def scene() -> None:
        log = AuditLog(path)
        await log.record(Entry("a" * 300, who="b" * 301, object="c" * 10**6))
        await log.close()

    asyncio.run(scene())
    values = json.loads(path.read_bytes())
    assert (values["what"], values["who"], values["object"]) == ("a" * 300, "b" * 300, "c" * 300)


def test_an_anchor_has_one_length_so_that_writing_over_it_leaves_nothing_of_the_old(
    tmp_path: Path,
) -> None:
    path, key = tmp_path / "audit.jsonl", ec.generate_private_key(ec.SECP256R1())
    anchor = path.with_name("audit.jsonl.anchor")
    sizes = set()
    for lines in (0, 5, 5, 100):
        write_log(path, lines=lines, key=key)
        sizes.add(anchor.stat().st_size)
        assert anchor.read_bytes().count(b"\n") == 1
    assert sizes == {512}
    found = verify(path, key.public_key())
    assert (found.anchored, found.signed) == (110, True)
    assert verify(path, None).signed is False


def test_lines_that_come_while_others_are_synced_share_the_next_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, released = threading.Event(), threading.Event()
    syncs: list[int] = []

    def slow(file: int) -> None:
        syncs.append(file)
        began.set()
        assert released.wait(60)

    monkeypatch.setattr(os, "fdatasync", slow)

    async def scene() -> None:
        log = AuditLog(tmp_path / "audit.jsonl")
        first = asyncio.create_task(log.record(Entry("train")))
        assert await asyncio.to_thread(began.wait, 60)
        later = []
        for _ in range(5):
            later.append(asyncio.create_task(log.record(Entry("train"))))
            await asyncio.sleep(0)
        released.set()
        await asyncio.gather(first, *later)
        await log.close()

    asyncio.run(scene())
    assert len(syncs) == 2


def test_a_file_that_is_put_aside_is_synced_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    synced: list[int] = []
    real = os.fdatasync

    def sync(file: int) -> None:
        synced.append(os.fstat(file).st_ino)
        real(file)

    async def scene() -> None:
        log = AuditLog(path, rotate_bytes=1)
        await log.record(Entry("keep"), durable=False)
        before = path.stat().st_ino
        monkeypatch.setattr(os, "fdatasync", sync)
        await log.record(Entry("keep"), durable=False)
        assert synced == [before]
        await log.close()

    asyncio.run(scene())


def test_a_log_may_be_closed_again(tmp_path: Path) -> None:
    async def scene() -> None:
        log = AuditLog(tmp_path / "audit.jsonl")
        await log.close()
        with (tmp_path / "another").open("wb") as other:  # has the number that the log had
            await log.close()
            other.write(b"still open")
        again = AuditLog(tmp_path / "audit.jsonl")  # for the lock is gone
        await again.close()

    asyncio.run(scene())


@pytest.mark.parametrize("at_once", [1, 7])
def test_a_system_that_takes_little_at_a_time_gets_the_whole_line(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: real(file, data[:at_once], at))
    write_log(path, lines=5)
    assert verify(path, None).last == 5
    assert verify(path, None).fault == ""


@pytest.mark.timeout(30)
def test_a_system_that_takes_nothing_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        log = AuditLog(tmp_path / "audit.jsonl")
        with monkeypatch.context() as broken:
            broken.setattr(os, "pwrite", lambda *_: 0)
            with pytest.raises(StorageError, match="No space left"):
                await log.record(Entry("train"))
        await log.close()

    asyncio.run(scene())


def test_a_line_that_cannot_be_made_is_an_error_of_its_own_kind(tmp_path: Path) -> None:
    async def scene() -> None:
        log = AuditLog(tmp_path / "audit.jsonl")
        with pytest.raises(StorageError, match="cannot write the audit log"):
            await log.record(Entry("train", bytes_out=10**5000))  # more digits than Python writes
        await log.record(Entry("train"))
        assert log.place.n == 1
        await log.close()

    asyncio.run(scene())
