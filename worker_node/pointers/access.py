"""Pointer operations of one connection: whether the owner allows them, and where they begin."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from shared.model.recipe import Recipe
from shared.pointers.commands import (
    JOIN_SEALED,
    OPEN_POINTERS,
    OPEN_SEALED,
    OPEN_SHARED,
    SUMMARISE,
    JoinSealed,
    OpenPointers,
    OpenSealed,
    OpenShared,
    SealedKeyReport,
    SummariseScores,
)
from shared.pointers.frames import pack_answers, pack_failure
from shared.wire.commands import EvaluateReport
from shared.wire.frames import Frame, MalformedFrame
from worker_node.guarding.guard import Who
from worker_node.guarding.policy import refusal
from worker_node.guarding.rules.pointers import PointerBounds, SharedBounds
from worker_node.node import DataOwnerNode
from worker_node.pointers.channel import Said, pack
from worker_node.pointers.rows import TaggedTensor, tagged_tensors
from worker_node.pointers.sealing import Sealing
from worker_node.pointers.session import WHY_IS_NOT_TOLD
from worker_node.pointers.session_process import SessionEnded, SessionProcess, Told
from worker_node.pointers.ticks import moment_after

COMMANDS = (OPEN_POINTERS, OPEN_SHARED, OPEN_SEALED, JOIN_SEALED, SUMMARISE)
_WANTS_NO_ANSWER = b"\x92\xc2"
"""How the payload of such a frame begins, as msgpack writes it; others are waited for."""

_DONE = pack_answers([])

log = logging.getLogger("fedsms.node")


class Answer(NamedTuple):
    """What a frame of commands is answered.

    says_done: that all was done, in a session in which nothing needs to be paid for, and not more.
    """

    payload: bytes
    says_done: bool


class PointerAccess:
    """One connection's way to pointer operations; what it holds goes with the connection."""

    def __init__(self, node: DataOwnerNode) -> None:
        self._node = node
        self._counts = not node.guard.policy.pointers.gradients
        self._seconds = node.guard.policy.pointers.seconds
        self._process: SessionProcess | None = None
        self._sealing = Sealing(node)
        self._who = Who()

    async def command(self, name: str, arguments: Any, who: Who) -> dict[str, Any] | None:
        """Answers one of COMMANDS.

        Raises PolicyRefused where the owner does not allow it, or not to this coordinator.
        """
        if name == OPEN_SHARED:
            OpenShared.parse(arguments)
            await self._node.guard.may_share(who)
            bounds = self._node.guard.policy.shared
            await self._open([], secrets.randbelow(2**63), bounds, counts=False)
            log.info("%s begins to compute on shares", who.name)
            return None
        if name == OPEN_SEALED:
            key = await self._sealing.open(OpenSealed.parse(arguments), who)
            return SealedKeyReport(key=key).model_dump()
        if name == JOIN_SEALED:
            sealed = await self._sealing.join(JoinSealed.parse(arguments), who)
            # what is paid for has to be answered before the next frame comes
            tells = self._node.guard.policy.shared.tells_scores
            await self._open([], 0, self._node.guard.policy.shared, counts=tells, sealed=sealed)
            self._who = who
            return None
        if name == OPEN_POINTERS:
            await self._open_on_rows(OpenPointers.parse(arguments), who)
            log.info("%s begins pointer operations", who.name)
            return None
        wanted = SummariseScores.parse(arguments)
        told = await self._ask(Said.SUMMARISE, pack((wanted.logits, wanted.labels)))
        report = EvaluateReport(**told.answer, seconds_evaluating=0.0, seconds_waiting=0.0)
        return report.model_dump()

    def about(self, name: str) -> str:
        """What the log is to say of a command that was done."""
        return self._sealing.about if name == OPEN_SEALED else ""

    async def handle(self, request: Frame) -> Answer | None:
        """Runs a frame of commands; the answer, where one is wanted.

        Not safe to cancel, but for closing afterwards.

        Raises MalformedFrame where it, or one before it, is none, or nobody opened a session.
        """
        wants_answer = bytes(request.payload[:2]) != _WANTS_NO_ANSWER
        if not wants_answer and not self._counts:
            await self._opened().post(request.payload)
            return None
        try:
            told = await self._ask(Said.FRAME, request.payload)
        except SessionEnded as error:
            return Answer(pack_failure(-1, error.fact, error.cause, error.next_step), False)
        for first, spam in self._opened().take_learned():
            await self._sealing.keep(self._who, first, spam)
        if told.answer is None:
            return None
        return Answer(told.answer, not told.is_counted and told.answer == _DONE)

    async def _ask(self, said: Said, payload: bytes | memoryview) -> Told:
        """Where what is told is counted, the answer leaves at a moment that was paid for."""
        clock = asyncio.get_running_loop().time
        began, is_counted = clock(), self._counts
        try:
            told = await self._opened().ask(said, payload, self._node.guard.take_bits)
            is_counted = told.is_counted
        except SessionEnded as error:
            log.warning("a session of pointer operations ended: %s", error.cause)
            if is_counted:
                raise SessionEnded(*WHY_IS_NOT_TOLD) from None
            raise
        finally:
            if is_counted:
                passed = clock() - began
                await asyncio.sleep(moment_after(passed, self._seconds) - passed)
        if told.error is not None:
            raise told.error
        return told

    def _opened(self) -> SessionProcess:
        if self._process is None:
            raise MalformedFrame("pointer commands before a session of them was opened")
        return self._process

    async def _open_on_rows(self, command: OpenPointers, who: Who) -> None:
        node = self._node
        if not node.guard.allows_pointers:
            raise refusal(
                "modes",
                f"node {node.id} does not allow pointer operations",
                f"Ask the owner of {node.id} to start the node with: "
                "python -m worker_node serve --allow pointers ...",
            )
        await node.guard.may_point(who, command.recipe, node.shard)
        text = Recipe.from_json(command.recipe).text
        rows = await asyncio.to_thread(tagged_tensors, node.shard, text)
        bounds = node.guard.policy.pointers
        await self._open(rows, command.seed, bounds, counts=not bounds.gradients)

    async def _open(
        self,
        rows: Sequence[TaggedTensor],
        seed: int,
        bounds: PointerBounds | SharedBounds,
        *,
        counts: bool,
        sealed: dict[str, Any] | None = None,
    ) -> None:
        """Args: counts: what is told of the rows is paid for. sealed: a sealed session's."""
        await self.close()
        self._counts, self._seconds = counts, bounds.seconds
        self._process = await SessionProcess.start(
            {
                "seed": seed,
                "threads": torch.get_num_threads(),
                "gradients": not counts,
                "megabytes": bounds.megabytes,
                "seconds": bounds.seconds,
                "sealed": sealed,
            },
            rows,
        )

    async def close(self) -> None:
        """Ends the session's process, and all that it held goes with it. Idempotent."""
        if self._process is not None:
            process, self._process = self._process, None
            await process.close()
