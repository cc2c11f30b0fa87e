"""What is on disk when a line counts as written, and what a node finds when it starts again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import StorageError
from tests.helpers.running import ROOT, environment
from tests.worker_node.audit.test_audit import TAMPERINGS
from tests.worker_node.audit.writing import write_log
from worker_node.audit.lines import Entry
from worker_node.audit.log import AuditLog
from worker_node.audit.reading import verify

# cut off or changed where a node that starts looks, which reads the end of its log alone
AT_THE_END = ("the end cut off", "much of the end cut off", "the last line changed", "all cut off")


@pytest.mark.parametrize("with_key", [True, False])
@pytest.mark.parametrize("name", AT_THE_END)
def test_a_node_does_not_go_on_after_an_end_that_is_not_its_own(
    name: str, with_key: bool, tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    key = ec.generate_private_key(ec.SECP256R1()) if with_key else None
    write_log(path, key=key)
    lines = path.read_bytes().splitlines(keepends=True)
    tampered = b"".join(TAMPERINGS[name](lines))
    path.write_bytes(tampered)
    with pytest.raises(StorageError, match="not as this node left it"):
        AuditLog(path, key)
    assert path.read_bytes() == tampered
    path.write_bytes(b"".join(lines))
    write_log(path, lines=5, key=key)
    assert verify(path, key.public_key() if key else None).last == 25


def forged(line: bytes) -> bytes:
    """The same line, of the same number, that tells of something else."""
    values = json.loads(line)
    assert values["decision"] == "allowed"
    return json.dumps({**values, "decision": "refused"}).encode() + b"\n"


def test_a_last_line_that_was_replaced_by_another_of_its_number_is_found_at_the_start(
    tmp_path: Path,
) -> None:
    path, key = tmp_path / "audit.jsonl", ec.generate_private_key(ec.SECP256R1())
    write_log(path, key=key)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:-1], forged(lines[-1])]))
    with pytest.raises(StorageError, match="not as this node left it"):
        AuditLog(path, key)


@pytest.mark.parametrize(
    "garbage", [b"[1]\n", b"no line\n", b'{"n": "20", "previous": "x"}\n', b"\n"]
)
def test_a_last_line_that_is_none_is_found_at_the_start(garbage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write_log(path)
    path.write_bytes(path.read_bytes() + garbage)
    with pytest.raises(StorageError, match="its last line is damaged"):
        AuditLog(path)


def test_an_anchor_of_fewer_lines_is_what_a_power_cut_leaves_and_the_node_goes_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit.jsonl"
    anchor = path.with_name("audit.jsonl.anchor")
    write_log(path, lines=5)
    older = anchor.read_bytes()
    write_log(path, lines=5)
    anchor.write_bytes(older)
    write_log(path, lines=5)
    assert verify(path, None).last == 15
    assert verify(path, None).fault == ""


class Watched:
    """The order in which lines are written, synced, and count as written."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, int]] = []
        real = os.fdatasync

        def synced(file: int) -> None:
            real(file)
            self.events.append(("synced", path.stat().st_size))

        monkeypatch.setattr(os, "fdatasync", synced)
        self._path = path

    async def record(self, log: AuditLog, durable: bool) -> None:
        await log.record(Entry("train"), durable)
        self.events.append(("counts", self._path.stat().st_size))


def test_a_line_counts_as_written_when_it_is_synced_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    watched = Watched(path, monkeypatch)

    async def scene() -> None:
        log = AuditLog(path)
        for durable in (True, False, True):
            await watched.record(log, durable)
        await log.close()

    asyncio.run(scene())
    kinds = [kind for kind, _ in watched.events]
    assert kinds == ["synced", "counts", "counts", "synced", "counts"]
    sizes = [size for _, size in watched.events]
    assert sizes[0] == sizes[1] < sizes[2] < sizes[3] == sizes[4]
    assert path.read_bytes().count(b"\n") == 3


def test_lines_that_wait_at_the_same_time_share_a_sync_if_one_of_them_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    watched = Watched(path, monkeypatch)

    async def scene() -> None:
        log = AuditLog(path)
        wanted = [False, True, False, False]
        await asyncio.gather(*(watched.record(log, durable) for durable in wanted))
        await log.close()

    asyncio.run(scene())
    assert [kind for kind, _ in watched.events] == ["synced"] + ["counts"] * 4
    assert len({size for _, size in watched.events}) == 1


WRITES_AND_SAYS_SO = """
import asyncio, sys
from pathlib import Path
from worker_node.audit.lines import Entry
from worker_node.audit.log import AuditLog

async def main():
    log = AuditLog(Path(sys.argv[1]))
    while True:
        await log.record(Entry("train"))
        print(log.place.n, flush=True)

asyncio.run(main())
"""


def test_no_line_that_was_answered_is_lost_when_the_node_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", WRITES_AND_SAYS_SO, str(path)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
        text=True,
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    answered = max(int(line) for line in said if line.endswith("\n"))
    assert answered >= 20
    write_log(path, lines=0)  # starts again, and drops what was cut short
    assert verify(path, None).last >= answered
    assert verify(path, None).fault == ""


@pytest.mark.parametrize("failing", ["pwrite", "fdatasync"])
def test_a_line_that_could_not_be_written_is_an_error_and_leaves_the_log_as_it_was(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"

    def full(*_: Any) -> None:
        raise OSError(28, "no space left on device")

    async def scene() -> None:
        log = AuditLog(path)
        await log.record(Entry("greet"))
        before, place = path.read_bytes(), log.place
        with monkeypatch.context() as broken:
            broken.setattr(os, failing, full)
            with pytest.raises(StorageError, match="audit log"):
                await log.record(Entry("train"))
        assert path.read_bytes() == before
        assert log.place == place
        await log.record(Entry("train"))
        assert log.place.n == 2
        await log.close()

    asyncio.run(scene())
    assert verify(path, None).fault == ""


def test_half_a_line_that_a_full_disk_left_is_gone_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.jsonl"
    real = os.pwrite
    calls: list[int] = []

    def half(file: int, data: bytes, at: int) -> int:
        calls.append(at)
        if len(calls) == 1:
            return real(file, data[:10], at)
        raise OSError(28, "no space left on device")

    async def scene() -> None:
        log = AuditLog(path)
        await log.record(Entry("greet"))
        with monkeypatch.context() as broken:
            broken.setattr(os, "pwrite", half)
            with pytest.raises(StorageError):
                await log.record(Entry("train"))
        await log.record(Entry("train"))
        await log.close()

    asyncio.run(scene())
    assert len(calls) > 1
    assert verify(path, None).last == 2


@pytest.mark.parametrize("durable", [True, False])
def test_a_line_whose_asker_has_gone_is_written_all_the_same(durable: bool, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"

    async def scene() -> None:
        log = AuditLog(path)
        asking = asyncio.create_task(log.record(Entry("train"), durable))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert asking.cancelled()
        await log.close()

    asyncio.run(scene())
    assert verify(path, None).last == 1
