"""An answer leaves when its line is where it must be, and not a moment before."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from shared.errors import NodeFailed, PolicyRefused
from shared.wire.frames import Kind, new_request_id, parse_frame
from worker_node.audit.lines import Entry
from worker_node.guarding.guard import Guard
from worker_node.sessions.answers import Answers


class Gate:
    """An audit log whose lines are on disk when the test says so."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.lines: list[tuple[Entry, bool]] = []

    async def record(self, entry: Entry, durable: bool = True) -> None:
        self.lines.append((entry, durable))
        await self.open.wait()


class Line:
    """A connection that remembers what leaves over it."""

    remote_address = ("10.0.0.9", 5)

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.transport = SimpleNamespace(get_extra_info=lambda _: None)

    async def send(self, data: bytes) -> None:
        self.sent.append(data)


def made() -> tuple[Gate, Line, Answers]:
    gate, line = Gate(), Line()
    return gate, line, Answers(Guard(audit=gate), line)  # type: ignore[arg-type]


async def until_idle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", [Kind.REPLY, Kind.ERROR, Kind.EVENT])
def test_nothing_leaves_before_its_line_is_written(kind: Kind) -> None:
    async def scene() -> None:
        gate, line, answers = made()
        request = answers.request(new_request_id(), "train")
        sending = asyncio.create_task(answers.send(request, kind, b"answer"))
        await until_idle()
        assert len(gate.lines) == 1
        assert line.sent == []
        gate.open.set()
        await sending
        assert [parse_frame(one).kind for one in line.sent] == [kind]

    asyncio.run(scene())


def test_a_line_has_the_bytes_of_the_answer_and_of_the_events_before_it() -> None:
    async def scene() -> None:
        gate, line, answers = made()
        gate.open.set()
        request = answers.request(new_request_id(), "train")
        for payload in (b"one", b"three"):
            await answers.send(request, Kind.EVENT, payload)
        await answers.send(request, Kind.REPLY, b"answer")
        await answers.send(request, Kind.EVENT, b"late")  # stays here
        began, ended = (entry for entry, _ in gate.lines)
        assert (began.decision, began.bytes_out) == ("began", 0)
        assert (ended.decision, ended.bytes_out) == ("allowed", sum(map(len, line.sent)))
        assert len(line.sent) == 3

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("error", "decision"),
    [
        (PolicyRefused("no", "because"), "refused"),
        (NodeFailed("cannot", "because"), "failed"),
    ],
)
def test_an_error_is_a_line_that_says_whether_a_rule_said_no(error: Any, decision: str) -> None:
    async def scene() -> None:
        gate, line, answers = made()
        gate.open.set()
        await answers.send_error(answers.request(new_request_id(), "keep"), error)
        ((entry, durable),) = gate.lines
        assert (entry.decision, durable) == (decision, True)
        assert "because" in entry.detail
        assert [parse_frame(one).kind for one in line.sent] == [Kind.ERROR]

    asyncio.run(scene())


@pytest.mark.parametrize("what", ["greeting", "train", "evaluate", "keep", "fetch", "request"])
def test_lines_of_work_and_of_what_left_are_durable(what: str) -> None:
    async def scene() -> None:
        gate, _, answers = made()
        gate.open.set()
        await answers.send(answers.request(new_request_id(), what), Kind.REPLY, b"")
        ((_, durable),) = gate.lines
        assert durable is (what != "keep")

    asyncio.run(scene())
