"""Trainings, evaluations and comparisons as a session asks for them: allowed, hidden, told of."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed

from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.wire.commands import (
    CompareCommand,
    CompareReport,
    EvaluateCommand,
    EvaluateReport,
    OnProgress,
    Progress,
    SecureReport,
    TrainCommand,
    TrainReport,
)
from shared.wire.frames import Kind, pack_map
from shared.wire.patches import state_object
from worker_node.node import DataOwnerNode, ObjectStore
from worker_node.sessions.answers import WITH_NOISE, Answers, Request
from worker_node.sessions.departures import departure_of
from worker_node.sessions.private_work import PrivateWork, as_object, in_clear
from worker_node.sessions.secure_work import SecureWork, or_nothing
from worker_node.sessions.work import compare, evaluate, train
from worker_node.training.known_trainings import Begin, Key, Trained, key_of

NOTHING = np.empty(0, np.float32)
"""The numbers of work that gave none, or whose model stays."""


class CommandedWork:
    """What one session's commands have the trainer do.

    Attributes:
        secure: its secure sums.
        has_trained: whether a model was trained over this connection.
    """

    def __init__(self, node: DataOwnerNode, store: ObjectStore, answers: Answers) -> None:
        self._node = node
        self._store = store
        self._answers = answers
        self.secure = SecureWork(node)
        self._private = PrivateWork(node)
        self._trainings: set[Key] = set()
        self.has_trained = False

    def give_up(self) -> None:
        """Ends the trainings that nobody else waits for."""
        for key in self._trainings:
            self._node.trainings.give_up(key)

    async def train(
        self, command: TrainCommand, state: Vector, request: Request
    ) -> TrainReport | SecureReport:
        node, who = self._node, self._answers.who
        # also of what is answered from memory
        recipe = Recipe.from_json(command.recipe)
        is_private = recipe.is_private
        node.guard.policy.check_secure(command.secure)
        node.guard.policy.check_private("train", recipe.privacy)
        if command.secure:
            self.secure.check_training(who.name, command, state)
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
        self.has_trained = True
        return told

    async def _told(
        self, peer: str, command: TrainCommand, state: Vector, trained: Trained
    ) -> tuple[TrainReport | SecureReport, Any]:
        """What is told of a training, and the object to fetch."""
        report, numbers = trained
        if isinstance(report, TrainReport):
            if command.secure:
                return await self.secure.trained(peer, command, report, numbers)
            return report, state_object(numbers, state, command.result_id)
        assert isinstance(report, SecureReport)
        if command.secure and not numbers.size:
            return report, await self.secure.failed_training(peer, command)
        if command.secure:
            return report, await self.secure.masked_training(peer, command, numbers)
        return report, as_object(numbers, command.result_id)

    async def evaluate(
        self, command: EvaluateCommand, state: Vector, request: Request
    ) -> EvaluateReport | SecureReport:
        who = self._answers.who
        if command.secure is not None:
            self.secure.check_evaluation(who.name, command)
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
            return await self.secure.failed_evaluation(who.name, command, report, state)
        return await self.secure.evaluated(who.name, command, report, state)

    async def _evaluate_privately(self, command: EvaluateCommand, state: Vector) -> SecureReport:
        who = self._answers.who
        self._node.guard.policy.check_secure(command.secure is not None)
        report, numbers = await self._private.evaluated(who, command, state)
        self._node.guard.has_measured(who, state)
        if command.secure is None:
            return in_clear(report, numbers)
        masked = await self.secure.masked_evaluation(who.name, command, numbers, state)
        return report.model_copy(update={"masked": masked})

    async def compare(
        self, command: CompareCommand, state: Vector, request: Request
    ) -> CompareReport | SecureReport:
        node, who = self._node, self._answers.who
        node.guard.policy.check_secure(command.secure)  # also of what is answered from memory
        if command.secure:
            self.secure.check_comparison(who.name, command, state)
        key = key_of(who.name, command, state)

        async def begin(tell: OnProgress) -> Trained:
            await node.guard.may_compare(who, command, node.shard)
            work = compare(node, who.name, command, state, tell)
            can_hide = command.secure and len(node.shard.train)
            return await (or_nothing(work) if can_hide else work), NOTHING

        request.comparing(command, node.trainings.source(key))
        report, _ = await self._result_of(key, begin, request)
        if isinstance(report, SecureReport):
            return await self.secure.failed_comparison(who.name, command, report)
        assert isinstance(report, CompareReport)
        if command.secure:
            return await self.secure.compared(who.name, command, report)
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
