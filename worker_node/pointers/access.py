"""Pointer operations of one connection: whether the owner allows them, and where they begin."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from shared.errors import NodeFailed
from shared.model.metrics import BINS, summarise
from shared.model.recipe import Recipe
from shared.model.vectors import plain_array
from shared.pointers.commands import OPEN_POINTERS, SUMMARISE, OpenPointers, SummariseScores
from shared.wire.commands import EvaluateReport
from shared.wire.frames import Frame, MalformedFrame
from worker_node.guarding.guard import Who
from worker_node.guarding.policy import refusal
from worker_node.node import DataOwnerNode
from worker_node.pointers.marks import Mark
from worker_node.pointers.rows import tagged_tensors
from worker_node.pointers.session import PointerSession
from worker_node.pointers.store import PointerStore

COMMANDS = (OPEN_POINTERS, SUMMARISE)

log = logging.getLogger("fedsms.node")


class PointerAccess:
    """One connection's way to pointer operations; what it holds goes with the connection."""

    def __init__(self, node: DataOwnerNode) -> None:
        self._node = node
        self._session: PointerSession | None = None

    async def command(self, name: str, arguments: Any, who: Who) -> dict[str, Any] | None:
        """Answers one of COMMANDS.

        Raises PolicyRefused where the owner does not allow pointers, or not to this coordinator.
        """
        if not self._node.guard.allows_pointers:
            raise refusal(
                "modes",
                f"node {self._node.id} does not allow pointer operations",
                f"Ask the owner of {self._node.id} to start the node with: "
                "python -m worker_node serve --allow pointers ...",
            )
        if name == OPEN_POINTERS:
            command = OpenPointers.parse(arguments)
            await self._node.guard.may_point(who, command.recipe, self._node.shard)
            await self._open(command)
            log.info("%s begins pointer operations", who.name)
            return None
        return self._summarise(SummariseScores.parse(arguments)).model_dump()

    def handle(self, request: Frame) -> bytes | None:
        """Runs a frame of commands; the answer, where one is wanted.

        Raises MalformedFrame where it is none, or nobody opened a session.
        """
        return self._opened().handle(request.payload)

    def _opened(self) -> PointerSession:
        if self._session is None:
            raise MalformedFrame("pointer commands before a session of them was opened")
        return self._session

    async def _open(self, command: OpenPointers) -> None:
        text = Recipe.from_json(command.recipe).text
        rows = await asyncio.to_thread(tagged_tensors, self._node.shard, text)
        store = PointerStore(self._node.guard)
        store.add_rows(rows)
        self._session = PointerSession(self._node, store, command.seed)

    def _summarise(self, command: SummariseScores) -> EvaluateReport:
        store = self._opened().store
        logits = _together([store.get(one) for one in command.logits])
        labels = _together([store.get(one) for one in command.labels])
        if logits.shape != labels.shape:
            raise NodeFailed("as many scores as labels are counted")
        if not np.isin(labels, (0.0, 1.0)).all():
            raise NodeFailed("labels are 0 for ham and 1 for spam")
        told = [store.marks.of(one) for one in (*command.logits, *command.labels)]
        if max(told, default=Mark.CLEAN) >= Mark.DATA:
            self._node.guard.take_numbers(len(logits))
        try:
            summary = summarise(logits, labels)
        except ValueError as error:
            raise NodeFailed("the scores cannot be counted", str(error)) from None
        assert len(summary.ham) == BINS
        return EvaluateReport(
            ham={int(place): int(summary.ham[place]) for place in np.flatnonzero(summary.ham)},
            spam={int(place): int(summary.spam[place]) for place in np.flatnonzero(summary.spam)},
            loss_sum=summary.loss_sum,
            seconds_evaluating=0.0,
            seconds_waiting=0.0,
        )


def _together(tensors: Sequence[object]) -> Any:
    """One array (rows,) of float tensors (rows,). Raises NodeFailed where one is none."""
    arrays = [plain_array(tensor) for tensor in tensors if isinstance(tensor, torch.Tensor)]
    if len(arrays) != len(tensors) or any(
        array is None or array.ndim != 1 or array.dtype != np.float32 for array in arrays
    ):
        raise NodeFailed("scores and labels are flat float32 tensors")
    return np.concatenate(arrays)  # type: ignore[arg-type]  # None was refused above
