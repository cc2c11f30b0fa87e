"""What a coordinator's commands do: one handler for each name, in a table."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed

from shared.errors import FedsmsError, NodeFailed, one_line
from shared.model.recipe import Recipe
from shared.model.vectors import Vector, as_vector
from shared.pointers.commands import (
    JOIN_SEALED,
    OPEN_POINTERS,
    OPEN_SEALED,
    OPEN_SHARED,
    SUMMARISE,
)
from shared.pysyft import serialize
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
from shared.wire.frames import Kind, pack_map
from shared.wire.patches import state_from, state_object
from worker_node.node import DataOwnerNode, ObjectStore, command_of, nbytes_of
from worker_node.pointers.access import PointerAccess
from worker_node.sessions.answers import IN_A_SUM, WITH_NOISE, Answers, Request
from worker_node.sessions.departures import departure_of
from worker_node.sessions.private_work import PrivateWork, as_object, in_clear
from worker_node.sessions.secure_work import SecureWork, or_nothing
from worker_node.sessions.work import compare, evaluate, train
from worker_node.training.known_trainings import Begin, Key, Trained, key_of

MAX_TASKS = 4
"""Requests to train or evaluate that one session may have open at a time."""

NOTHING = np.empty(0, np.float32)
"""The numbers of work that gave none, or whose model stays."""

Told = TrainReport | EvaluateReport | CompareReport | SecureReport | SumAnswer | CountersignReport
Report = Coroutine[Any, Any, Told | None]

log = logging.getLogger("fedsms.node")


class Commands:
    """One session's commands. Training and evaluating run beside the session, as tasks.

    Attributes:
        trained: whether a model was trained over this connection.
    """

    def __init__(
        self, node: DataOwnerNode, store: ObjectStore, answers: Answers, pointers: PointerAccess
    ) -> None:
        self._node = node
        self._store = store
        self._answers = answers
        self._pointers = pointers
        self._secure = SecureWork(node)
        self._private = PrivateWork(node)
        self._tasks: set[asyncio.Task[None]] = set()
        self._called_off: set[asyncio.Task[None]] = set()
        self._trainings: set[Key] = set()
        self.trained = False
        self._handlers: dict[str, Callable[[str, Any, Request], Awaitable[None]]] = {
            PROPOSE: self._on_propose,
            TRAIN: self._on_train,
            EVALUATE: self._on_evaluate,
            COMPARE: self._on_compare,
            SUM_KEYS: self._on_sum_keys,
            SUM_STEP: self._on_sum_step,
            COUNTERSIGN: self._on_countersign,
            HAND_OUT: self._on_hand_out,
            CANCEL: self._on_cancel,
            OPEN_POINTERS: self._on_pointers,
            OPEN_SHARED: self._on_pointers,
            OPEN_SEALED: self._on_pointers,
            JOIN_SEALED: self._on_pointers,
            SUMMARISE: self._on_pointers,
        }

    async def handle(self, message: Any, request: Request) -> None:
        """Does what a command asks for, or begins it; its inputs are taken from the store now.

        Raises:
            FedsmsError: it cannot be done; the session answers with the error.
        """
        name, arguments = command_of(message)
        handler = self._handlers.get(name)
        if handler is None:
            raise NodeFailed(f"node {self._node.id} knows no command {name!r:.80}")
        await handler(name, arguments, request)

    async def end(self) -> None:
        """The connection has ended, and with it what was asked for over it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _on_cancel(self, _: str, arguments: Any, request: Request) -> None:
        for key in self._trainings:
            self._node.trainings.give_up(key)
        self._called_off |= self._tasks
        for task in self._tasks:
            task.cancel()
        await self._reply(request, None)

    async def _on_pointers(self, name: str, arguments: Any, request: Request) -> None:
        told = await self._pointers.command(name, arguments, self._answers.who)
        request.entry.detail = self._pointers.about(name)
        self.trained = True
        await self._answers.send(request, Kind.REPLY, serialize(told, self._node))

    async def _on_propose(self, _: str, arguments: Any, request: Request) -> None:
        self._require_a_free_task()
        command = ProposeCommand.parse(arguments)
        request.entry.detail = command.work
        await self._begin(self._judge(command), request)

    async def _judge(self, command: ProposeCommand) -> None:
        node, who = self._node, self._answers.who
        is_known = node.trainings.knows(who.name, command.run)
        await node.guard.may_propose(who, command, node.shard, is_known=is_known)

    async def _on_train(self, _: str, arguments: Any, request: Request) -> None:
        self._require_a_free_task()
        command = TrainCommand.parse(arguments)
        request.training(command)
        state = self._state(command.state_id, None)
        result = state.nbytes * (2 if command.secure else 1)  # a masked number has 8 bytes
        self._node.require_room(self._store, result)
        self._store.promised[request.id] = result
        await self._begin(self._train(command, state, request), request)

    async def _on_evaluate(self, _: str, arguments: Any, request: Request) -> None:
        self._require_a_free_task()
        command = EvaluateCommand.parse(arguments)
        secure = f"round {command.secure[1]}{IN_A_SUM}" if command.secure is not None else ""
        with_noise = WITH_NOISE * Recipe.from_json(command.recipe).is_private
        request.about(command.state_id, (secure + with_noise).removeprefix(", "))
        state = self._state(command.state_id, command.base_id)
        await self._begin(self._evaluate(command, state, request), request)

    async def _on_compare(self, _: str, arguments: Any, request: Request) -> None:
        self._require_a_free_task()
        command = CompareCommand.parse(arguments)
        request.comparing(command)
        state = self._state(command.state_id, None)
        await self._begin(self._compare(command, state, request), request)

    async def _on_sum_keys(self, _: str, arguments: Any, request: Request) -> None:
        command = SumKeysCommand.parse(arguments)
        request.entry.detail = f"keys, {command.sum} of round {command.round}"
        state = self._state(command.state_id, None)
        data = await self._secure.keys(self._answers.who.name, command, state)
        await self._reply(request, SumAnswer(data=data))

    async def _on_sum_step(self, _: str, arguments: Any, request: Request) -> None:
        command = SumStepCommand.parse(arguments)
        request.entry.detail = f"{command.step}, {command.sum} of round {command.round}"
        data = await self._secure.step(self._answers.who.name, command)
        await self._reply(request, SumAnswer(data=data))

    async def _on_countersign(self, _: str, arguments: Any, request: Request) -> None:
        command = CountersignCommand.parse(arguments)
        request.entry.detail = f"model {command.model[:16]} of run {command.run}"
        signed = self._node.guard.countersign(self._answers.who, command)
        await self._reply(request, CountersignReport(signed=signed.model_dump_json()))

    async def _on_hand_out(self, _: str, arguments: Any, request: Request) -> None:
        self._require_a_free_task()
        command = HandOutCommand.parse(arguments)
        request.about(command.state_id, f"model {command.model[:16]} of run {command.run}")
        state = self._state(command.state_id, None)
        await self._begin(self._keep(command, state, request), request)

    async def _keep(self, command: HandOutCommand, state: Vector, request: Request) -> None:
        """What was begun is done and written down, also where the connection ends meanwhile."""
        keeping = asyncio.ensure_future(
            self._node.guard.keep_model(self._answers.who, command, state)
        )
        try:
            request.entry.detail += await asyncio.shield(keeping)
        except asyncio.CancelledError:
            with contextlib.suppress(FedsmsError, ConnectionClosed):
                request.entry.detail += await keeping
                await self._reply(request, None)
            raise

    def _require_a_free_task(self) -> None:
        if len(self._tasks) >= MAX_TASKS:
            raise NodeFailed(f"a session has at most {MAX_TASKS} trainings and evaluations open")

    def _state(self, object_id: int, base_id: int | None) -> Vector:
        """A state that was sent; one that came as a patch is kept whole from now on."""
        objects = self._store.objects
        if object_id not in objects or (base_id is not None and base_id not in objects):
            raise NodeFailed(f"the state was not sent to node {self._node.id} before the command")
        base = as_vector(objects[base_id]) if base_id is not None else None
        state = state_from(objects[object_id], base)
        self._node.require_room(self._store, state.nbytes - nbytes_of(objects[object_id]), 0)
        objects[object_id] = state_object(state, None, object_id)
        return state

    async def _begin(self, report: Report, request: Request) -> None:
        task = asyncio.create_task(self._answer(report, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._called_off.discard)
        task.add_done_callback(lambda _: self._store.promised.pop(request.id, None))
        # A task that is cancelled before it began would never answer.
        await asyncio.sleep(0)

    async def _answer(self, report: Report, request: Request) -> None:
        peer = self._answers.who.name
        try:
            await self._reply(request, await report)
        except FedsmsError as error:
            log.warning("%s could not be served: %s", peer, one_line(error))
            await self._answers.send_error(request, error)
        except asyncio.CancelledError:
            why = self._why_cancelled()
            log.info("work for %s ends: %s", peer, one_line(why))
            await self._answers.send_error(request, why)
            raise
        except ConnectionClosed:
            log.info("%s left before its answer was sent", peer)
        except Exception as error:
            # The owner reads all of it in the log, and the coordinator need not wait for ever.
            log.exception("%s could not be served", peer)
            unexpected = NodeFailed("an unexpected error on the node", type(error).__name__)
            await self._answers.send_error(request, unexpected)

    def _why_cancelled(self) -> FedsmsError:
        """Of the task that asks."""
        if self._node.guard.pause.is_on:
            return self._node.guard.pause.refusal()
        called_off = asyncio.current_task() in self._called_off
        return NodeFailed(
            "the coordinator cancelled this" if called_off else "the connection ended"
        )

    async def _reply(self, request: Request, report: Told | None) -> None:
        values = report.model_dump() if report is not None else None
        await self._answers.send(request, Kind.REPLY, serialize(values, self._node))

    async def _train(
        self, command: TrainCommand, state: Vector, request: Request
    ) -> TrainReport | SecureReport:
        node, who = self._node, self._answers.who
        # also of what is answered from memory
        recipe = Recipe.from_json(command.recipe)
        is_private = recipe.is_private
        node.guard.policy.check_secure(command.secure)
        node.guard.policy.check_private("train", recipe.privacy)
        if command.secure:
            self._secure.check_training(who.name, command, state)
        key = key_of(who.name, command, state)

        async def begin(tell: OnProgress) -> Trained:
            # here, so that a request which is only repeated counts for nothing
            if is_private:
                return await self._private.trained(who, command, state)
            await node.guard.may_train(who, command, node.shard)
            work = train(node, who.name, command, state, tell)
            if not command.secure or not len(node.shard.train):  # without rows it always fails
                return await work
            found = await or_nothing(work)
            return (found, NOTHING) if isinstance(found, SecureReport) else found

        request.training(command, node.trainings.source(key))
        request.entry.detail += WITH_NOISE * is_private
        trained = await self._result_of(key, begin, request)
        told, result = await self._told(who.name, command, state, trained)
        if node.guard.receipts.are_on and trained[1].size:
            departure = departure_of(who.name, command, state, trained, result)
            await node.guard.receipts.take(departure, node.shard)
        self._store.objects[command.result_id] = result
        self.trained = True
        return told

    async def _told(
        self, peer: str, command: TrainCommand, state: Vector, trained: Trained
    ) -> tuple[TrainReport | SecureReport, Any]:
        """What is told of a training, and the object to fetch."""
        report, numbers = trained
        if isinstance(report, TrainReport):
            if command.secure:
                return await self._secure.trained(peer, command, report, numbers)
            return report, state_object(numbers, state, command.result_id)
        assert isinstance(report, SecureReport)
        if command.secure and not numbers.size:
            return report, await self._secure.failed_training(peer, command)
        if command.secure:
            return report, await self._secure.masked_training(peer, command, numbers)
        return report, as_object(numbers, command.result_id)

    async def _evaluate(
        self, command: EvaluateCommand, state: Vector, request: Request
    ) -> EvaluateReport | SecureReport:
        who = self._answers.who
        if command.secure is not None:
            self._secure.check_evaluation(who.name, command)
        if Recipe.from_json(command.recipe).is_private:
            return await self._evaluate_privately(command, state)
        await self._node.guard.may_evaluate(who, command, self._node.shard)
        sending: set[asyncio.Task[None]] = set()
        tell = self._progress_to(request, sending)
        work = evaluate(self._node, who.name, command, state, tell)
        report = await (or_nothing(work) if command.secure is not None else work)
        await asyncio.gather(*sending)  # the last event goes before the answer
        self._node.guard.has_measured(who, state)
        if command.secure is None:
            return report
        if isinstance(report, SecureReport):
            return await self._secure.failed_evaluation(who.name, command, report, state)
        return await self._secure.evaluated(who.name, command, report, state)

    async def _evaluate_privately(self, command: EvaluateCommand, state: Vector) -> SecureReport:
        who = self._answers.who
        self._node.guard.policy.check_secure(command.secure is not None)
        report, numbers = await self._private.evaluated(who, command, state)
        self._node.guard.has_measured(who, state)
        if command.secure is None:
            return in_clear(report, numbers)
        masked = await self._secure.masked_evaluation(who.name, command, numbers, state)
        return report.model_copy(update={"masked": masked})

    async def _compare(
        self, command: CompareCommand, state: Vector, request: Request
    ) -> CompareReport | SecureReport:
        node, who = self._node, self._answers.who
        node.guard.policy.check_secure(command.secure)  # also of what is answered from memory
        if command.secure:
            self._secure.check_comparison(who.name, command, state)
        key = key_of(who.name, command, state)

        async def begin(tell: OnProgress) -> Trained:
            await node.guard.may_compare(who, command, node.shard)
            work = compare(node, who.name, command, state, tell)
            can_hide = command.secure and len(node.shard.train)
            return await (or_nothing(work) if can_hide else work), NOTHING

        request.comparing(command, node.trainings.source(key))
        report, _ = await self._result_of(key, begin, request)
        if isinstance(report, SecureReport):
            return await self._secure.failed_comparison(who.name, command, report)
        assert isinstance(report, CompareReport)
        if command.secure:
            return await self._secure.compared(who.name, command, report)
        return report

    async def _result_of(self, key: Key, begin: Begin, request: Request) -> Trained:
        """What the node remembers or does; its last event goes before the answer."""
        sending: set[asyncio.Task[None]] = set()
        self._trainings.add(key)
        try:
            found = await self._node.trainings.result_of(
                key, begin, self._progress_to(request, sending)
            )
        finally:
            self._trainings.discard(key)
        await asyncio.gather(*sending)
        return found

    def _progress_to(self, request: Request, sending: set[asyncio.Task[None]]) -> OnProgress:
        """Passes progress on as events; one that finds the line busy is left out."""

        def on_progress(progress: Progress) -> None:
            if not sending:
                task = asyncio.create_task(self._send_event(request, progress))
                sending.add(task)
                task.add_done_callback(sending.discard)

        return on_progress

    async def _send_event(self, request: Request, progress: Progress) -> None:
        with contextlib.suppress(ConnectionClosed):  # it has nobody to go to
            await self._answers.send(request, Kind.EVENT, pack_map(progress.model_dump()))
