"""Nothing leaves before its line is on disk: the one way out, with a log of the test's."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from shared.errors import NodeFailed, PolicyRefused, StorageError
from shared.wire.frames import Kind, MalformedFrame, parse_frame
from tests.helpers.running import ROOT
from worker_node.audit.lines import Entry
from worker_node.guarding.guard import Guard
from worker_node.sessions.answers import Answers, Request


class Line:
    """A connection that notes what happens to it, in one list with the log."""

    remote_address = ("127.0.0.1", 5)

    def __init__(self, happened: list[tuple[str, Any]]) -> None:
        self._happened = happened

    async def send(self, data: bytes) -> None:
        self._happened.append(("leaves", parse_frame(data)))

    async def close(self, code: int, reason: str) -> None:
        self._happened.append(("closed", code))


class Log:
    """An audit log that notes its lines; `full` makes it one on a full disk."""

    def __init__(self, happened: list[tuple[str, Any]]) -> None:
        self._happened = happened
        self.full = False

    async def record(self, entry: Entry, durable: bool = True) -> None:
        if self.full:
            raise StorageError("cannot write the audit log", "No space left on device")
        await asyncio.sleep(0)  # others may try to overtake
        self._happened.append(("durable" if durable else "written", replace(entry)))


def parts() -> tuple[list[tuple[str, Any]], Log, Answers]:
    happened: list[tuple[str, Any]] = []
    log = Log(happened)
    answers = Answers(Guard(audit=log), Line(happened))  # type: ignore[arg-type]
    answers.meet("")
    return happened, log, answers


def request_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["event", "reply", "error", "refusal", "silent", "pointers", "done", "welcome"]
        ),
        st.integers(0, 3),
    ),
    max_size=30,
)


async def take(step: str, answers: Answers, requests: dict[int, Request], number: int) -> None:
    """One step of one request; its request is made where there is none."""
    if number not in requests:
        make = answers.pointer_commands if step in ("pointers", "done") else None
        made = make(request_id(number), 10) if make else answers.request(request_id(number))
        requests[number] = made
    request = requests[number]
    match step:
        case "event":
            await answers.send(request, Kind.EVENT, b"{}")
        case "error":
            await answers.send_error(request, NodeFailed("it failed"))
        case "refusal":
            await answers.send_error(request, PolicyRefused("the policy says no"))
        case "silent":
            if not request.answered:
                request.entry.what = "delete"
            await answers.send(request, Kind.REPLY, b"deleted")
        case "done":
            request.says_done = request.entry.what == "pointer commands"
            await answers.send(request, Kind.REPLY, b"done" if request.says_done else b"told")
        case "welcome":
            await answers.send(request, Kind.HELLO, b"hello")
        case _:
            await answers.send(request, Kind.REPLY, b"told")


@given(STEPS)
def test_every_frame_that_leaves_follows_its_line_and_each_request_is_answered_once(
    steps: list[tuple[str, int]],
) -> None:
    async def session() -> list[tuple[str, Any]]:
        happened, _, answers = parts()
        requests: dict[int, Request] = {}
        for step, number in steps:
            await take(step, answers, requests, number)
        return happened

    happened = asyncio.run(session())
    lines = 0
    answered: set[bytes] = set()
    began: set[bytes] = set()
    for place, (what, about) in enumerate(happened):
        if what in ("durable", "written"):
            lines += 1
            continue
        assert what == "leaves"
        assert about.request_id not in answered  # nothing more after an answer, also no event
        before, entry = happened[place - 1]
        if about.kind is Kind.EVENT:
            if about.request_id not in began:
                assert (before, entry.decision) == ("durable", "began")
            began.add(about.request_id)
            continue
        answered.add(about.request_id)
        says_nothing = entry.decision == "allowed" and (
            entry.what == "delete" or about.payload == b"done"
        )
        assert before == ("written" if says_nothing else "durable")
        assert entry.bytes_out >= len(about.payload)
        if about.kind is Kind.ERROR:
            assert entry.decision in ("failed", "refused")
    assert lines == len(answered) + len(began)


@pytest.mark.parametrize("step", ["event", "reply", "error", "refusal", "silent", "welcome"])
def test_with_a_full_disk_nothing_leaves_and_the_connection_ends(step: str) -> None:
    async def session() -> list[tuple[str, Any]]:
        happened, log, answers = parts()
        log.full = True
        if step in ("error", "refusal"):  # nobody is told, and that is no error of the session's
            await take(step, answers, {}, 1)
        else:
            with pytest.raises(ConnectionClosed):
                await take(step, answers, {}, 1)
        return happened

    assert asyncio.run(session()) == [("closed", 1011)]


def test_an_open_request_keeps_its_line_from_another_with_its_id() -> None:
    async def session() -> None:
        _, _, answers = parts()
        first = answers.request(request_id(1))
        with pytest.raises(MalformedFrame, match="no answer yet"):
            answers.request(request_id(1))
        with pytest.raises(MalformedFrame, match="no answer yet"):
            answers.pointer_commands(request_id(1), 10)
        await answers.send(first, Kind.REPLY, b"told")
        answers.request(request_id(1))  # answered: the id is free

    asyncio.run(session())


def test_nothing_else_of_a_node_writes_to_a_connection() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "worker_node").rglob("*.py")
        if re.search(r"connection\.send\(", path.read_text(encoding="utf-8"))
    }
    # joining asks for a certificate over a line of its own, where no node is yet
    assert found == {"worker_node/sessions/answers.py", "worker_node/membership/joining.py"}
