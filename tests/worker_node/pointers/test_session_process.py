"""The process of a pointer session: what it costs to end one, and whom."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.errors import PolicyRefused
from shared.pointers.frames import Item, pack_commands, unpack_answers
from shared.wire.frames import MalformedFrame
from tests.helpers.running import children_of
from worker_node.pointers import session_process
from worker_node.pointers.channel import Said
from worker_node.pointers.rows import TaggedTensor
from worker_node.pointers.session_process import SessionEnded, SessionProcess

pytestmark = pytest.mark.timeout(120)

R: Any = ("r", 0)


async def started(rows: list[TaggedTensor] | None = None) -> SessionProcess:
    rows = rows or [TaggedTensor(torch.arange(4), ("#train", "#inputs"))]
    kept = {"seed": 1, "threads": 1, "gradients": False, "megabytes": 512, "seconds": 30}
    return await SessionProcess.start(kept, rows)


def commands(*named: tuple[Any, list[int]], answer: bool = True) -> bytes:
    numbers = [one for place, (_, ids) in enumerate(named, 1) for one in (place, *ids)]
    packed = b"".join(one.to_bytes(8, "little") for one in numbers)
    templates = tuple(template for template, _ in named)
    items: list[Any] = [(Item.FORGET_TEMPLATES, None), (Item.TEMPLATES, templates)]
    return pack_commands(answer, [*items, (Item.COMMANDS, packed)])


ONES: Any = ("torch.ones", (("l", 2),), ())


def none(bits: int) -> None:
    raise PolicyRefused(f"{bits} bits")


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def test_what_a_frame_can_tell_is_asked_for_before_it_runs() -> None:
    async def scene() -> None:
        process = await started()
        try:
            told = await process.ask(Said.FRAME, commands((ONES, [5])), none)
            assert (told.is_counted, unpack_answers(told.answer)[0]) == (False, 0)
            found = pack_commands(True, [(Item.SEARCH, ("#inputs",))])
            ((rows, *_),) = unpack_answers((await process.ask(Said.FRAME, found, none)).answer)[1][
                0
            ]
            naming = commands((("__getitem__", (R, 0), ()), [rows, 6]))
            told = await process.ask(Said.FRAME, naming, none)
            assert told.is_counted
            assert unpack_answers(told.answer)[2] == "4 bits"
            fetch = pack_commands(True, [(Item.FETCH, 6)])
            taken: list[int] = []
            told = await process.ask(Said.FRAME, fetch, taken.append)
            assert taken == [72]
            assert unpack_answers(told.answer)[0] == 1  # what was refused did not run
        finally:
            await process.close()

    run(scene())


def session_pids() -> set[int]:
    """Of the sessions of this process's nodes, also of one that another test's has just ended."""
    server = session_process.fork_server_pid()
    return set() if server is None else set(children_of(server))


def is_in_memory(pid: int, wanted: bytes) -> bool:
    """Looks at all that a process can read of its own, but for files that others map too."""
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in maps:
            where, rights, *_ = line.split()
            if rights.startswith("rw") and "[v" not in line:
                first, end = (int(one, 16) for one in where.split("-"))
                memory.seek(first)
                if wanted in memory.read(end - first):
                    return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads another process's memory")
def test_rows_come_into_the_process_when_they_are_named_and_not_before() -> None:
    row = torch.arange(10**15, 10**15 + 6)  # as bytes, nobody else's
    wanted = row.numpy().tobytes()

    async def scene() -> None:
        others = session_pids()
        process = await started([TaggedTensor(row, ("#train", "#inputs"))])
        try:
            await process.ask(Said.FRAME, commands((ONES, [5])), none)
            (pid,) = session_pids() - others
            found = pack_commands(True, [(Item.SEARCH, ("#inputs",))])
            answers = unpack_answers((await process.ask(Said.FRAME, found, none)).answer)[1]
            assert not is_in_memory(pid, wanted)
            naming = commands((("__getitem__", (R, 0), ()), [answers[0][0][0], 6]))
            await process.ask(Said.FRAME, naming, lambda bits: None)
            assert is_in_memory(pid, wanted)
        finally:
            await process.close()

    run(scene())


def test_a_process_that_an_operation_ended_says_so_ever_after() -> None:
    async def scene() -> None:
        process = await started()
        divided = ("torch.div", (R, R), (("rounding_mode", "trunc"),))
        smallest = ("torch.full", (("l", 1), -(2**63)), (("dtype", ("d", "int64")),))
        less = ("torch.full", (("l", 1), -1), (("dtype", ("d", "int64")),))
        try:
            ending = commands((smallest, [5]), (less, [6]), (divided, [5, 6, 7]))
            for _ in range(2):
                with pytest.raises(SessionEnded, match="by signal 8"):
                    await process.ask(Said.FRAME, ending, none)
            await process.post(ending)
        finally:
            await process.close()

    run(scene())


def test_a_process_is_ended_while_it_works() -> None:
    async def scene() -> None:
        process = await started()
        multiplied: list[Any] = [("torch.ones", (("l", 5000, 5000),), ())]
        multiplied += [("matmul", (R, R), ())] * 50
        frame = commands(*[(one, [5] * (1 + 2 * bool(at))) for at, one in enumerate(multiplied)])
        await process.post(frame)
        await process.close()
        with pytest.raises(SessionEnded):
            await process.ask(Said.FRAME, frame, none)

    run(scene())


def test_more_memory_than_a_session_gets_is_a_failure_and_not_its_end() -> None:
    async def scene() -> None:
        process = await started()
        try:
            large = commands((("torch.ones", (("l", 2**15, 2**15),), ()), [5]))
            told = await process.ask(Said.FRAME, large, none)
            assert unpack_answers(told.answer)[0] == 1
            told = await process.ask(Said.FRAME, commands((ONES, [5])), none)
            assert unpack_answers(told.answer)[0] == 0
        finally:
            await process.close()

    run(scene())


def test_a_malformed_frame_without_an_answer_is_told_at_the_next() -> None:
    async def scene() -> None:
        process = await started()
        try:
            await process.post(b"\x92\xc2\x01")
            with pytest.raises(MalformedFrame):
                await process.ask(Said.FRAME, commands((ONES, [5])), none)
        finally:
            await process.close()

    run(scene())
