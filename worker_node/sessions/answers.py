"""Requests of one connection, and the one way in which anything leaves the node.

Each request is a line in the owner's audit log, begun when it arrives. `Answers.send` is the only
place that writes to the connection: the line is written first, and whatever tells the coordinator
something waits until that line is on disk. An answer that says nothing but "done" is written before
it leaves, and synced with the next line that is.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from typing import Any

from websockets.asyncio.connection import Connection
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from shared.errors import FedsmsError, PolicyRefused, StorageError
from shared.identity.certificates import fingerprint
from shared.identity.tls import peer_certificate
from shared.pysyft import (
    ForceObjectDeleteMessage,
    ObjectMessage,
    ObjectRequestMessage,
    WorkerCommandMessage,
)
from shared.wire.commands import CompareCommand, TrainCommand
from shared.wire.frames import Kind, MalformedFrame, frame, pack_error
from worker_node.audit.lines import Entry
from worker_node.guarding.guard import Guard, Who
from worker_node.training.known_trainings import Source

_WHAT = {
    ObjectMessage: "keep",
    ObjectRequestMessage: "fetch",
    ForceObjectDeleteMessage: "delete",
}
SILENT = ("keep", "delete", "cancel")
"""What is answered with "done", and tells nothing."""
IN_A_SUM = ", in a secure sum"
WITH_NOISE = ", with noise"
_REPEATED: dict[Source, str] = {
    "": "",
    "under way": ", asked for again: the training that goes on",
    "finished": ", asked for again: answered from memory",
}

log = logging.getLogger("fedsms.node")


@dataclass(eq=False)
class Request:
    """One request, from its arrival to its answer.

    entry: its line in the audit log, as it will be. began: a line says that work on it has begun.
    answered: its answer leaves; nothing more does. events_bytes: of the events before it.
    says_done: of pointer commands: the answer says that much and nothing else.
    """

    id: bytes
    entry: Entry
    began: bool = False
    answered: bool = False
    events_bytes: int = 0
    says_done: bool = False

    def describe(self, message: Any) -> None:
        """What a PySyft message asks for."""
        self.entry.what = _WHAT.get(type(message), "command")
        if isinstance(message, WorkerCommandMessage):
            self.entry.what = str(message.command_name)[:40]
        elif isinstance(message, ObjectMessage):
            self.entry.object = str(getattr(message.object, "id", ""))
        else:
            self.entry.object = str(message.object_id)

    def about(self, object_id: int, detail: str = "") -> None:
        self.entry.object, self.entry.detail = str(object_id), detail

    def training(self, command: TrainCommand, source: Source = "") -> None:
        """A training, and where its result comes from; "" where it is not repeated."""
        secure = IN_A_SUM if command.secure else ""
        detail = f"round {command.round} of {command.rounds}{secure}{_REPEATED[source]}"
        self.about(command.result_id, detail)

    def comparing(self, command: CompareCommand, source: Source = "") -> None:
        """The same of a comparison."""
        secure = IN_A_SUM if command.secure else ""
        detail = f"with {command.rounds} rounds alone{secure}{_REPEATED[source]}"
        self.about(command.state_id, detail)

    def refused(self, error: FedsmsError) -> None:
        """The answer will be an error."""
        self.entry.decision = "refused" if isinstance(error, PolicyRefused) else "failed"
        self.entry.detail = error.words


class Answers:
    """One connection's requests without an answer, and what leaves the node over it."""

    def __init__(self, guard: Guard, connection: Connection) -> None:
        self._guard = guard
        self._connection = connection
        self._open: dict[bytes, Request] = {}
        self._pointing: Request | None = None
        self._frames = self._frames_bytes = 0
        self.who = Who()

    def meet(self, proved_name: str) -> Who:
        """Who dialled. Args: proved_name: of its certificate; "" without TLS."""
        found = self._connection.remote_address
        address = f"{found[0]}:{found[1]}" if isinstance(found, tuple) else ""
        certificate = peer_certificate(self._connection) if proved_name else None
        proof = fingerprint(certificate) if certificate is not None else ""
        self.who = Who(address, proved_name, proof)
        return self.who

    def request(self, request_id: bytes, what: str = "request") -> Request:
        """A request that has arrived.

        Raises MalformedFrame where an open one has its id: their lines would be mixed up.
        """
        if request_id in self._open:
            raise MalformedFrame("the id of a request that has no answer yet")
        self._open[request_id] = request = Request(request_id, Entry(what))
        return request

    def pointer_commands(self, request_id: bytes, size: int) -> Request:
        """A frame of pointer commands. Most want no answer: the next one that does tells of them.

        Args:
            size: bytes of the frame.
        """
        if self._pointing is not None:
            self._open.pop(self._pointing.id, None)
        self._pointing = request = self.request(request_id, "pointer commands")
        self._frames += 1
        self._frames_bytes += size
        request.entry.detail = f"{self._frames} frames, {self._frames_bytes} bytes of commands"
        return request

    async def send(self, request: Request, kind: Kind, payload: bytes) -> None:
        """Lets an answer leave, or an event before it, once its line is where it must be.

        Events of a request that has been answered stay here.

        Raises:
            ConnectionClosed: it is, or is closed now because the line cannot be written.
        """
        if request.answered:
            return
        if self._guard.pause.is_on and not self._is_harmless(request, kind):
            if kind is Kind.EVENT:
                return
            error = self._guard.pause.refusal()
            request.refused(error)
            kind, payload = Kind.ERROR, pack_error(error)
        data = frame(kind, request.id, payload)
        try:
            await self._write_line(request, kind, len(data))
        except StorageError as error:
            await self._connection.close(1011, "this node cannot write its audit log")
            raise ConnectionClosedError(None, None) from error
        if kind is not Kind.EVENT:
            request.answered = True
            self._open.pop(request.id, None)
        await self._connection.send(data)

    @staticmethod
    def _is_harmless(request: Request, kind: Kind) -> bool:
        """Whether it tells nothing of the rows, and so may leave in a pause."""
        return kind in (Kind.ERROR, Kind.REFUSED) or request.entry.what in SILENT

    async def send_error(self, request: Request, error: FedsmsError) -> None:
        """The same for an error; nobody is there to read it, and that is no error here."""
        request.refused(error)
        with contextlib.suppress(ConnectionClosed):
            await self.send(request, Kind.ERROR, pack_error(error))

    async def ended(self, why: str) -> None:
        """The node ends the connection without an answer."""
        with contextlib.suppress(StorageError):  # who could not write has said so
            await self._guard.record(self.who, Entry("frame", decision="failed", detail=why))

    async def _write_line(self, request: Request, kind: Kind, size: int) -> None:
        """Raises StorageError where it cannot be written."""
        entry = request.entry
        if kind is Kind.EVENT:
            request.events_bytes += size
            if not request.began:
                request.began = True
                await self._guard.record(self.who, replace(entry, decision="began", bytes_out=0))
            return
        entry.bytes_out = request.events_bytes + size
        if request is self._pointing:
            self._pointing, self._frames, self._frames_bytes = None, 0, 0
        says_done = request.says_done or entry.what in SILENT
        silent = says_done and entry.decision == "allowed"
        await self._guard.record(self.who, entry, durable=not silent)
