"""NodeClient: PySyft's WebsocketClientWorker, as the coordinator's side of one node.

It keeps PySyft's messages and serialisation and replaces the transport by a Link. The coroutines
below are what a round needs. PySyft's own blocking calls (`tensor.send(client)`, `.get()`) work as
well, from any thread but the one that runs the link's event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from server.nodes.link import Link
from shared.errors import FedsmsError, NodeFailed, NodeUnreachable
from shared.model.vectors import Vector, plain_array
from shared.pysyft import (
    ForceObjectDeleteMessage,
    ObjectMessage,
    ObjectRequestMessage,
    WebsocketClientWorker,
    WorkerCommandMessage,
    deserialize,
    make_hook,
    restrict_decoder,
    serialize,
)
from shared.wire.commands import (
    CANCEL,
    COMPARE,
    COUNTERSIGN,
    EVALUATE,
    HAND_OUT,
    PROPOSE,
    SUM_KEYS,
    SUM_STEP,
    TRAIN,
    CompareCommand,
    CompareReport,
    CountersignCommand,
    CountersignReport,
    EvaluateCommand,
    EvaluateReport,
    HandOutCommand,
    OnProgress,
    Progress,
    ProposeCommand,
    SecureReport,
    SumAnswer,
    SumKeysCommand,
    SumStepCommand,
    TrainCommand,
    TrainReport,
)
from shared.wire.patches import state_from, state_object
from shared.wire.timeouts import limit


def pack_state(state: Vector, base: Vector | None, object_id: int) -> bytes:
    """The message that sends a state (P,); the same bytes serve every node.

    Args:
        base: the state that all nodes have; None sends the whole one.
    """
    hook = make_hook()
    return serialize(ObjectMessage(state_object(state, base, object_id)), hook.local_worker)


def pack_cancel() -> bytes:
    """The message that has a node stop what it does for this coordinator."""
    return serialize(WorkerCommandMessage(CANCEL, ((), {}, [])), make_hook().local_worker)


class NodeClient(WebsocketClientWorker):
    """One node, seen from the coordinator.

    Args:
        node_id: the node's id, the same as in its greeting.
        link: the standing connection; whoever made it closes it, and may put another in its place.
    """

    # PySyft would give a second client of the same id the link of the first.
    joins_registry = False
    crypto_plans = False

    def __init__(self, node_id: str, link: Link) -> None:
        self.link = link
        self._loop = asyncio.get_running_loop()
        super().__init__(hook=make_hook(), host="", port=0, id=node_id, is_client_worker=True)
        # A malicious node could harm the coordinator as a coordinator could harm a node.
        restrict_decoder(self, (torch.Tensor, dict, list, set, str, tuple))

    def connect(self) -> None:
        """Called by PySyft's constructor; the link stands already."""

    async def send_state(self, packed: bytes) -> None:
        """Sends what `pack_state` packed. Raises as Link.request does."""
        await self.link.request(packed, seconds=self.link.timeouts.transfer_timeout)

    async def fetch_state(self, object_id: int, base: Vector) -> Vector:
        """Fetches a trained state (P,) and removes it from the node.

        Args:
            base: the state (P,) that it was trained from.

        Raises:
            NodeFailed: the node has no such object, or it is not P finite numbers.
        """
        request = serialize(ObjectRequestMessage(object_id, None, ""), self)
        answer = await self.link.request(request, seconds=self.link.timeouts.transfer_timeout)
        with self._blaming():
            state = state_from(self._open(answer), base)
        if state.shape != base.shape:
            cause = f"{state.size} numbers; the model has {base.size}"
            raise NodeFailed(f"node {self.id} gave back a state of another size", cause)
        if not np.isfinite(state).all():
            raise NodeFailed(f"node {self.id} gave back a state with numbers that are not finite")
        return state

    async def propose(self, command: ProposeCommand) -> None:
        """Asks whether the node would do it, before a state is sent for it.

        Raises:
            PolicyRefused: its owner's policy does not allow it.
        """
        request = self._pack_command(PROPOSE, command.model_dump())
        # as long as for the work: an owner may have to say yes
        await self.link.request(request, seconds=self.link.timeouts.train_timeout)

    async def train(self, command: TrainCommand, on_progress: OnProgress) -> TrainReport:
        """Has the node train on its rows; raises NodeFailed with the node's own cause."""
        answer = await self.link.request(
            self._pack_command(TRAIN, command.model_dump()),
            on_event=lambda event: on_progress(self._progress(event)),
            seconds=self.link.timeouts.train_timeout,
        )
        with self._blaming():
            report = TrainReport.parse(self._open(answer))
        told = self.link.greeting.rows.get("train")
        if report.rows != told:
            cause = f"it trained on {report.rows} rows, and greeted with {told}"
            raise NodeFailed(f"node {self.id} claims another weight in the average", cause)
        return report

    async def evaluate(
        self, command: EvaluateCommand, on_progress: OnProgress = lambda _: None
    ) -> EvaluateReport:
        """Has the node evaluate on its held-out rows; raises NodeFailed with its own cause."""
        answer = await self.link.request(
            self._pack_command(EVALUATE, command.model_dump()),
            on_event=lambda event: on_progress(self._progress(event)),
            seconds=self.link.timeouts.evaluate_timeout,
        )
        with self._blaming():
            report = EvaluateReport.parse(self._open(answer))
        counted = sum(report.ham.values()) + sum(report.spam.values())
        told = self.link.greeting.rows.get("held_out")
        if counted != told:
            cause = f"it counted {counted} held-out rows, and greeted with {told}"
            raise NodeFailed(f"node {self.id} sent impossible counts", cause)
        return report

    async def compare(self, command: CompareCommand, on_progress: OnProgress) -> CompareReport:
        """Has the node train alone, and measure both models; raises NodeFailed with its cause."""
        answer = await self._compare(command, on_progress)
        with self._blaming():
            return CompareReport.parse(self._open(answer))

    async def compare_secretly(
        self, command: CompareCommand, on_progress: OnProgress
    ) -> SecureReport:
        """The same for a secure sum; the report has the masked figures."""
        answer = await self._compare(command, on_progress)
        with self._blaming():
            return SecureReport.parse(self._open(answer))

    async def _compare(self, command: CompareCommand, on_progress: OnProgress) -> memoryview:
        return await self.link.request(
            self._pack_command(COMPARE, command.model_dump()),
            on_event=lambda event: on_progress(self._progress(event)),
            seconds=self.link.timeouts.train_timeout * command.rounds,
        )

    async def train_secretly(self, command: TrainCommand, on_progress: OnProgress) -> SecureReport:
        """Has the node train for a secure sum; `fetch_masked` gets the masked vector."""
        answer = await self.link.request(
            self._pack_command(TRAIN, command.model_dump()),
            on_event=lambda event: on_progress(self._progress(event)),
            seconds=self.link.timeouts.train_timeout,
        )
        with self._blaming():
            return SecureReport.parse(self._open(answer))

    async def evaluate_secretly(self, command: EvaluateCommand) -> SecureReport:
        """Has the node evaluate for a secure sum; the report has the masked counts."""
        request = self._pack_command(EVALUATE, command.model_dump())
        answer = await self.link.request(request, seconds=self.link.timeouts.evaluate_timeout)
        with self._blaming():
            return SecureReport.parse(self._open(answer))

    async def fetch_masked(self, object_id: int) -> bytes:
        """Fetches a masked vector, as Masked encodes it, and removes it from the node.

        Raises:
            NodeFailed: the node has no such object, or it is none.
        """
        request = serialize(ObjectRequestMessage(object_id, None, ""), self)
        answer = await self.link.request(request, seconds=self.link.timeouts.transfer_timeout)
        with self._blaming():
            array = plain_array(self._open(answer))
            if array is None or array.dtype != np.uint8 or array.ndim != 1:
                raise NodeFailed("what is no masked vector")
            return array.tobytes()

    async def sum_keys(self, command: SumKeysCommand) -> bytes:
        """Begins a secure sum: the node's signed Keys, not looked at."""
        return await self._ask_for_sum(SUM_KEYS, command.model_dump())

    async def sum_step(self, command: SumStepCommand) -> bytes:
        """Takes a step of it: the node's next message, not looked at."""
        return await self._ask_for_sum(SUM_STEP, command.model_dump())

    async def _ask_for_sum(self, name: str, arguments: dict[str, Any]) -> bytes:
        request = self._pack_command(name, arguments)
        answer = await self.link.request(request, seconds=self.link.timeouts.transfer_timeout)
        with self._blaming():
            return SumAnswer.parse(self._open(answer)).data

    async def countersign(self, command: CountersignCommand) -> str:
        """The node's countersignature as JSON, not looked at; raises as Link.request does."""
        request = self._pack_command(COUNTERSIGN, command.model_dump())
        answer = await self.link.request(request, seconds=self.link.timeouts.transfer_timeout)
        with self._blaming():
            return CountersignReport.parse(self._open(answer)).signed

    async def hand_out(self, command: HandOutCommand) -> None:
        """Has the node keep a state that it was sent, for its owner; done once it is on disk.

        Raises:
            PolicyRefused: its owner takes no such models.
        """
        request = self._pack_command(HAND_OUT, command.model_dump())
        await self.link.request(request, seconds=self.link.timeouts.transfer_timeout)

    async def forget(self, object_id: int) -> None:
        """Removes an object of this session from the node."""
        request = serialize(ForceObjectDeleteMessage(object_id), self)
        await self.link.request(request, seconds=self.link.timeouts.transfer_timeout)

    def _pack_command(self, name: str, arguments: dict[str, Any]) -> bytes:
        return serialize(WorkerCommandMessage(name, ((), arguments, [])), self)

    def _progress(self, event: dict[str, Any]) -> Progress:
        with self._blaming():
            return Progress.parse(event)

    def _open(self, payload: memoryview) -> Any:
        try:
            return deserialize(bytes(payload), self)
        except ValueError as error:
            raise NodeFailed("a malformed message", str(error)) from None

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        """What is wrong with what the node sent names the node."""
        try:
            yield
        except NodeFailed as error:
            raise NodeFailed(f"node {self.id} sent {error.fact}", error.cause) from None

    def _send_msg(self, message: bytes, location: object = None) -> bytes:
        """PySyft's way for what a client asks itself; its own pointers go by `_recv_msg`."""
        return self._recv_msg(message)

    def _recv_msg(self, message: bytes) -> bytes:
        """PySyft's own way to ask the node, and to wait for the answer."""
        if asyncio._get_running_loop() is self._loop:
            raise FedsmsError(
                "a blocking PySyft call inside the event loop would wait for itself",
                next_step="Call it from another thread, or use the coroutines of NodeClient.",
            )
        if self._loop.is_closed():
            raise NodeUnreachable(f"the connection to node {self.id} was closed")
        asked = asyncio.run_coroutine_threadsafe(self.link.request(message), self._loop)
        try:
            return bytes(asked.result(limit(self.link.timeouts.transfer_timeout)))
        except TimeoutError as error:
            raise NodeUnreachable(f"node {self.id} gave no answer") from error
