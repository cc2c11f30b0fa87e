"""A session's entries in the audit log: begun when a request arrives, written before its answer.

Requests that are answered with nothing but "done" are written before their answer, and synced with
the next line that is; whatever tells the coordinator something waits until its line is on disk.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from websockets.asyncio.server import ServerConnection

from shared.errors import FedsmsError, PolicyRefused, StorageError
from shared.identity.certificates import fingerprint
from shared.identity.tls import peer_certificate
from shared.pysyft import (
    ForceObjectDeleteMessage,
    ObjectMessage,
    ObjectRequestMessage,
    WorkerCommandMessage,
)
from shared.wire.commands import TrainCommand
from shared.wire.frames import Kind, MalformedFrame
from worker_node.audit.lines import Entry
from worker_node.guarding.guard import Guard, Who
from worker_node.training.known_trainings import Source

_WHAT = {
    ObjectMessage: "keep",
    ObjectRequestMessage: "fetch",
    ForceObjectDeleteMessage: "delete",
}
_SILENT = ("keep", "delete", "cancel")
_HANDSHAKE = (Kind.HELLO, Kind.REFUSED)
_REPEATED: dict[Source, str] = {
    "": "",
    "under way": ", asked for again: the training that goes on",
    "finished": ", asked for again: answered from memory",
}
_MOST_OPEN = 64  # requests without an answer; a session has far fewer


class Ledger:
    """One connection's part of the log."""

    def __init__(self, guard: Guard, connection: ServerConnection) -> None:
        self._guard = guard
        self._connection = connection
        self._open: dict[bytes, Entry] = {}
        self._began: set[bytes] = set()
        self._pointing = b""
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

    def arrived(self, request_id: bytes, message: Any) -> None:
        """A request was read.

        Raises MalformedFrame where an open one has its id: their lines would be mixed up.
        """
        if request_id in self._open:
            raise MalformedFrame("the id of a request that has no answer yet")
        while len(self._open) >= _MOST_OPEN:
            del self._open[next(iter(self._open))]
        self._open[request_id] = entry = Entry(_WHAT.get(type(message), "command"))
        if isinstance(message, WorkerCommandMessage):
            entry.what = str(message.command_name)[:40]
        elif isinstance(message, ObjectMessage):
            entry.object = str(getattr(message.object, "id", ""))
        else:
            entry.object = str(message.object_id)

    def pointed(self, request_id: bytes, size: int) -> None:
        """A frame of pointer commands. Most want no answer: the next one that does tells of them.

        Args:
            size: bytes of the frame.
        """
        if request_id in self._open and request_id != self._pointing:
            raise MalformedFrame("the id of a request that has no answer yet")
        self._frames += 1
        self._frames_bytes += size
        self._open.pop(self._pointing, None)
        self._pointing = request_id
        detail = f"{self._frames} frames, {self._frames_bytes} bytes of commands"
        self._open[request_id] = Entry("pointer commands", detail=detail)

    def about(self, request_id: bytes, object_id: int, detail: str = "") -> None:
        entry = self._entry(request_id)
        entry.object, entry.detail = str(object_id), detail

    def training(self, request_id: bytes, command: TrainCommand, source: Source = "") -> None:
        """A training, and where its result comes from; "" where it is not repeated."""
        detail = f"round {command.round} of {command.rounds}{_REPEATED[source]}"
        self.about(request_id, command.result_id, detail)

    def refused(self, request_id: bytes, error: FedsmsError) -> None:
        """The answer to a request will be an error."""
        entry = self._entry(request_id)
        entry.decision = "refused" if isinstance(error, PolicyRefused) else "failed"
        entry.detail = f"{error.fact}: {error.cause}" if error.cause else error.fact

    async def before(self, kind: Kind, request_id: bytes, size: int) -> None:
        """Writes the line of an answer, or of the first event before it, that is about to leave.

        Raises StorageError where it cannot be written; then nothing may leave.
        """
        if kind is Kind.EVENT:
            entry = self._entry(request_id)
            entry.bytes_out += size
            if request_id not in self._began:
                self._began.add(request_id)
                await self._guard.record(self.who, replace(entry, decision="began", bytes_out=0))
            return
        self._began.discard(request_id)
        entry = self._entry(request_id)
        self._open.pop(request_id)
        if kind in _HANDSHAKE:
            entry.what = "handshake"
            if kind is Kind.REFUSED:
                entry.decision = "refused"
        entry.bytes_out += size
        if entry.what == "pointer commands":
            self._frames = self._frames_bytes = 0
        silent = entry.what in _SILENT and entry.decision == "allowed"
        await self._guard.record(self.who, entry, durable=not silent)

    async def ended(self, why: str) -> None:
        """The node ends the connection without an answer."""
        with contextlib.suppress(StorageError):  # who could not write has said so
            await self._guard.record(self.who, Entry("frame", decision="failed", detail=why))

    def _entry(self, request_id: bytes) -> Entry:
        return self._open.setdefault(request_id, Entry("request"))
