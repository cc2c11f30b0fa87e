"""What the page says of the log, step by step, and when it says something else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from worker_node.audit.lines import Entry
from worker_node.audit.log import AuditLog, NoAudit
from worker_node.audit.reading import verify
from worker_node.page import log_check as module
from worker_node.page.log_check import LogCheck

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


async def lines(log: AuditLog, number: int) -> None:
    for _ in range(number):
        await log.record(Entry("train", "hospital", "AB:12", "127.0.0.1:5"))


async def verdict(check: LogCheck) -> dict[str, Any]:
    assert check.begin() is True
    await looked(check)
    return check.told


async def looked(check: LogCheck) -> None:
    """Waits for the check itself: one that never began ends the test at once."""
    assert check._task is not None
    await check._task


def test_what_is_said_before_while_and_after_it_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    said: list[dict[str, Any]] = []

    async def scene() -> None:
        log = AuditLog(path)
        check = LogCheck(log, None, lambda: said.append(check.told))
        try:
            await lines(log, 3)
            first = {"state": "not checked", "words": str(path), "time": ""}
            assert check.told == first
            assert said == []
            assert check.begin() is True
            assert check.told == {**first, "state": "checking"}
            assert check.begin() is False
            await looked(check)
            assert len(said) == 2
            time = check.told["time"]
            assert MOMENT.fullmatch(time)
            whole = "Lines 1 to 3 are all there, unchanged; the anchor is not signed."
            after = {"state": "whole", "words": whole, "time": time}
            assert said == [{**first, "state": "checking"}, after]
            assert check.told == after
            assert check.begin() is True
            assert check.told == {**after, "state": "checking"}
        finally:
            await check.close()
            await check.close()
            await log.close()

    run(scene())


def test_without_a_log_nothing_is_ever_said() -> None:
    said: list[None] = []
    check = LogCheck(NoAudit(), None, lambda: said.append(None))
    off = {"state": "off", "words": "There is no log, as you asked.", "time": ""}
    assert check.told == off
    assert check.begin() is False
    assert check.told == off
    assert said == []
    run(check.close())


def test_an_anchor_is_signed_by_this_nodes_key_or_it_is_a_fault(tmp_path: Path) -> None:
    async def scene() -> None:
        own, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        log = AuditLog(tmp_path / "audit.jsonl", own)
        await lines(log, 2)
        found = []
        for key in (own, other):
            check = LogCheck(log, key.public_key(), lambda: None)
            found.append(await verdict(check))
            await check.close()
        await log.close()
        assert found[0]["words"].endswith("unchanged; the anchor is signed by this node.")
        assert [one["state"] for one in found] == ["whole", "faulty"]
        assert found[1]["words"]

    run(scene())


@pytest.mark.parametrize("harm", ["a line changed", "the newest lines are others", "no folder"])
def test_what_is_wrong_is_said(tmp_path: Path, harm: str) -> None:
    async def scene() -> None:
        path = tmp_path / "log" / "audit.jsonl"
        log = AuditLog(path)
        await lines(log, 3)
        if harm == "a line changed":
            good = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(
                b"".join([good[0], good[1].replace(b"hospital", b"hospitaL"), good[2]])
            )
            says = "after line number 2"
        elif harm == "no folder":
            path.parent.rename(tmp_path / "elsewhere")
            says = "there is no audit log"
        else:
            other = AuditLog(tmp_path / "other" / "audit.jsonl")
            await lines(other, 3)
            await other.close()
            for name in ("audit.jsonl", "audit.jsonl.anchor"):
                (path.parent / name).write_bytes((tmp_path / "other" / name).read_bytes())
            says = "it ends otherwise than this node left it, which wrote 3 lines"
        check = LogCheck(log, None, lambda: None)
        told = await verdict(check)
        assert told["state"] == "faulty"
        assert says in told["words"]
        assert MOMENT.fullmatch(told["time"])
        await check.close()
        await log.close()

    run(scene())


def test_a_log_of_no_lines_yet_is_whole(tmp_path: Path) -> None:
    async def scene() -> None:
        log = AuditLog(tmp_path / "audit.jsonl")
        check = LogCheck(log, None, lambda: None)
        assert (await verdict(check))["state"] == "whole"
        await check.close()
        await log.close()

    run(scene())


def test_what_looks_damaged_once_and_not_again_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it may where it is read in the moment in which it is written."""
    looked: list[int] = []

    async def scene() -> None:
        log = AuditLog(tmp_path / "audit.jsonl")
        await lines(log, 2)
        whole = log.path.read_bytes()
        honest = verify

        def torn_at_first(*arguments: Any) -> Any:
            looked.append(1)
            log.path.write_bytes(whole[:-5] if len(looked) == 1 else whole)
            return honest(*arguments)

        monkeypatch.setattr(module, "verify", torn_at_first)
        check = LogCheck(log, None, lambda: None)
        assert (await verdict(check))["state"] == "whole"
        assert len(looked) == 2
        assert (await verdict(check))["state"] == "whole"
        assert len(looked) == 3  # what is whole is read once
        await check.close()
        await log.close()

    run(scene())


def test_lines_that_are_written_while_it_is_read_are_left_for_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        log = AuditLog(tmp_path / "audit.jsonl")
        await lines(log, 2)
        loop = asyncio.get_running_loop()

        def verify_while_it_grows(path: Path, key: Any, written: Any) -> Any:
            def written_and_more() -> int:
                told: int = written()
                asyncio.run_coroutine_threadsafe(lines(log, 1), loop).result(60)
                return told

            return verify(path, key, written_and_more)

        monkeypatch.setattr(module, "verify", verify_while_it_grows)
        check = LogCheck(log, None, lambda: None)
        for last in (2, 3):
            told = await verdict(check)
            assert told["state"] == "whole"
            assert told["words"].startswith(f"Lines 1 to {last} are all there")
        await check.close()
        await log.close()

    run(scene())


def test_a_check_that_is_forgotten_says_nothing_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        log = AuditLog(tmp_path / "audit.jsonl")
        await lines(log, 1)
        reading, go_on = asyncio.Event(), asyncio.Event()
        loop, honest = asyncio.get_running_loop(), verify

        def slow(*arguments: Any) -> Any:
            loop.call_soon_threadsafe(reading.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(60)
            return honest(*arguments)

        monkeypatch.setattr(module, "verify", slow)
        said: list[str] = []
        check = LogCheck(log, None, lambda: said.append(check.told["state"]))
        assert check.begin()
        await asyncio.wait_for(reading.wait(), 60)
        await check.close()
        assert check._task is not None
        assert check._task.done()
        go_on.set()
        await asyncio.get_running_loop().shutdown_default_executor()
        assert said == ["checking"]
        assert check.told["state"] == "checking"
        await log.close()

    run(scene())
