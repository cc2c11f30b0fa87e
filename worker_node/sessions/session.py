"""A session: one connection of one coordinator to the node, from the handshake to its end.

Each session has an object store of its own; what it leaves behind goes with it. A training that it
asked for is the node's (worker_node/training/known_trainings.py) and goes on for a while when the
connection breaks. Requests about objects are answered in their order; training and evaluating run
beside them (worker_node/sessions/commands.py), so the session keeps answering meanwhile. What
leaves goes through worker_node/sessions/answers.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from shared.errors import FedsmsError
from shared.pysyft import WorkerCommandMessage
from shared.wire.frames import Frame, Kind, MalformedFrame, parse_frame
from shared.wire.heartbeat import Heard, watch
from shared.wire.transport import NOT_NOW, describe_close
from worker_node.membership.admission import Admission
from worker_node.node import DataOwnerNode, ObjectStore
from worker_node.pointers.access import PointerAccess
from worker_node.sessions.answers import SILENT, Answers
from worker_node.sessions.commands import Commands
from worker_node.sessions.greeting import greet

log = logging.getLogger("fedsms.node")


class Session:
    """One connection's conversation with the node.

    Args:
        admission: whom the node lets in, by certificate; None asks nobody for one.
        on_greeted: called once the handshake is done, before the node's welcome leaves.
    """

    def __init__(
        self,
        node: DataOwnerNode,
        connection: Heard,
        admission: Admission | None = None,
        on_greeted: Callable[[Heard], None] = lambda _: None,
    ) -> None:
        self._node = node
        self._connection = connection
        self._admission = admission
        self._on_greeted = on_greeted
        self._store = ObjectStore()
        self._answers = Answers(node.guard, connection)
        self._pointers = PointerAccess(node)
        self._commands = Commands(node, self._store, self._answers, self._pointers)

    @property
    def peer(self) -> str:
        """Who it is with: the name in its certificate, or what it calls itself."""
        return self._answers.who.name or "somebody"

    @property
    def ended_a_run(self) -> bool:
        """True where the coordinator has trained here and said goodbye.

        One whose connection broke, or who says that it will be back, goes on with its run.
        """
        said_goodbye = self._connection.close_code == CloseCode.NORMAL_CLOSURE
        return self._commands.has_trained and said_goodbye

    async def run(self) -> None:
        """Runs until the connection ends; never raises for what the peer does."""
        watching = asyncio.create_task(watch(self._connection, self._node.timeouts.heartbeat))
        try:
            if await greet(
                self._node, self._connection, self._admission, self._answers, self._on_greeted
            ):
                async for data in self._connection:
                    await self._handle(parse_frame(data))
        except MalformedFrame as error:
            log.warning("%s sent a malformed frame, goodbye: %s", self.peer, error)
            await self._answers.ended(str(error))
            await self._connection.close(1002, str(error)[:100].encode("ascii", "replace").decode())
        except ConnectionClosed as error:
            if error.sent is not None and not error.rcvd_then_sent:
                why = describe_close(error)
                log.warning("%s: %s", self.peer, why)
                await self._answers.ended(why)
        except Exception:
            log.exception("the session of %s ends with an unexpected error", self.peer)
            await self._answers.ended("an unexpected error on the node")
            await self._connection.close(1011, "an unexpected error on the node")
        finally:
            watching.cancel()
            await self._commands.end()
            await self._pointers.close()

    async def _handle(self, received: Frame) -> None:
        if received.kind is Kind.COMMANDS:
            await self._point(received)
        elif received.kind is Kind.REQUEST:
            await self._serve(received)
        else:
            raise MalformedFrame(f"a {received.kind.name} frame from a coordinator")

    async def _point(self, received: Frame) -> None:
        if self._node.guard.pause.is_on:  # most frames want no answer, and so get no refusal
            await self._connection.close(NOT_NOW, self._node.guard.pause.refusal().fact)
            return
        request = self._answers.pointer_commands(received.request_id, len(received.payload))
        answer = await self._pointers.handle(received)
        if answer is not None:
            request.says_done = answer.says_done
            await self._answers.send(request, Kind.REPLY, answer.payload)

    async def _serve(self, received: Frame) -> None:
        await self._node.guard.keep_pace(self._answers.who)
        request = self._answers.request(received.request_id)
        try:
            message = self._node.open(bytes(received.payload))
            request.describe(message)
            if request.entry.what not in SILENT:
                self._node.guard.pause.check()
            if isinstance(message, WorkerCommandMessage):
                await self._commands.handle(message, request)
            else:
                reply = self._node.answer(message, self._store)
                await self._answers.send(request, Kind.REPLY, reply)
        except FedsmsError as error:
            await self._answers.send_error(request, error)
