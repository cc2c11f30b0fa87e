"""What a session does of secure sums: numbers that leave below masks, and the steps around."""

from __future__ import annotations

import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import numpy as np
import torch

from shared.errors import NodeFailed, one_line
from shared.model.comparison import gains_of
from shared.model.metrics import BINS, Counts, ScoreSummary
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.secure_aggregation.contents import (
    COMPARISON_NUMBERS,
    EVALUATION_NUMBERS,
    encode_comparison,
    encode_evaluation,
    encode_training,
    recipe_digest,
    state_digest,
    training_numbers,
)
from shared.secure_aggregation.fixed_point import Ring
from shared.secure_aggregation.messages import Context
from shared.wire.commands import (
    CompareCommand,
    CompareReport,
    EvaluateCommand,
    EvaluateReport,
    SecureReport,
    SumKeysCommand,
    SumStepCommand,
    TrainCommand,
    TrainReport,
)
from worker_node.node import DataOwnerNode
from worker_node.secure_aggregation.sums import SecureSums, SumId
from worker_node.training.trainer_process import TrainerFailed

_FAILED = "it could not be done"
_Given = TypeVar("_Given")

log = logging.getLogger("fedsms.node")


async def or_nothing(work: Coroutine[Any, Any, _Given]) -> _Given | SecureReport:
    """What work for a secure sum gives; of such as fails by its numbers, a report without any.

    A state can be made so that it fails at whoever has a certain word, or so many rows: told in
    clear, the failure would pass by the sum.
    """
    began = time.perf_counter()
    try:
        return await work
    except TrainerFailed as error:
        log.warning("%s", one_line(error))
        seconds = time.perf_counter() - began
        return SecureReport(masked=b"", seconds_working=seconds, seconds_waiting=0.0)


class SecureWork:
    """The secure sums of one node, as its sessions ask for them."""

    def __init__(self, node: DataOwnerNode) -> None:
        self._node = node

    @property
    def _sums(self) -> SecureSums:
        if self._node.sums is None:
            raise NodeFailed(
                f"node {self._node.id} takes part in no secure sums",
                "it serves without a certificate to sign with",
                "Its owner makes one with: python -m worker_node init --id ID",
            )
        return self._node.sums

    async def keys(self, peer: str, command: SumKeysCommand, state: Vector) -> bytes:
        """Begins a sum of this state (P,): the owner's Keys. Raises as SecureSums.keys does."""
        context = Context(
            run=command.run,
            round=command.round,
            rounds=command.rounds,
            sum=command.sum,
            state=state_digest(state),
            recipe=_digest_of(command.recipe),
        )
        return await self._sums.keys(peer, context)

    async def step(self, peer: str, command: SumStepCommand) -> bytes:
        """Raises as SecureSums.step does."""
        return await self._sums.step(peer, command)

    def check_training(self, peer: str, command: TrainCommand, state: Vector) -> None:
        """Raises PolicyRefused where what would be trained is not what the round's keys are for.

        Before anything is trained: what comes out could not be masked.
        """
        facts = {
            "rounds": command.rounds,
            "recipe": _digest_of(command.recipe),
            "state": state_digest(state),
        }
        self._sums.require_ready(_training(peer, command), facts)

    async def trained(
        self, peer: str, command: TrainCommand, report: TrainReport, state: Vector
    ) -> tuple[SecureReport, Any]:
        """A trained state (P,) below its masks: what is told of it, and the object to fetch."""
        working, waiting = report.seconds_training, report.seconds_waiting
        told = SecureReport(masked=b"", seconds_working=working, seconds_waiting=waiting)
        try:
            numbers = encode_training(state, report.rows, report.loss)
        except ValueError as error:
            return told, await self.failed_training(peer, command, str(error))
        return told, await self.masked_training(peer, command, numbers)

    async def failed_training(self, peer: str, command: TrainCommand, why: str = _FAILED) -> Any:
        """Of a training that gave nothing to add: an object as of any other."""
        size = training_numbers(Recipe.from_json(command.recipe).parameters)
        numbers = self._spoiled(_training(peer, command), size, why)
        return await self.masked_training(peer, command, numbers)

    async def masked_training(self, peer: str, command: TrainCommand, numbers: Ring) -> Any:
        """Numbers of a training below its masks, as the object to fetch."""
        masked = await self._sums.mask(_training(peer, command), numbers)
        tensor: Any = torch.from_numpy(np.frombuffer(bytearray(masked), np.uint8))
        tensor.id = command.result_id
        return tensor

    def check_evaluation(self, peer: str, command: EvaluateCommand) -> None:
        """Likewise for an evaluation, of whatever state."""
        facts = {"recipe": _digest_of(command.recipe)}
        self._sums.require_ready(_evaluation(peer, command), facts)

    async def evaluated(
        self, peer: str, command: EvaluateCommand, report: EvaluateReport, state: Vector
    ) -> SecureReport:
        """The counts of a state (P,) below their masks."""
        summary = ScoreSummary(_dense(report.ham), _dense(report.spam), report.loss_sum)
        try:
            numbers = encode_evaluation(summary)
        except ValueError as error:
            numbers = self._spoiled(_evaluation(peer, command), EVALUATION_NUMBERS, str(error))
        return SecureReport(
            masked=await self.masked_evaluation(peer, command, numbers, state),
            seconds_working=report.seconds_evaluating,
            seconds_waiting=report.seconds_waiting,
        )

    async def failed_evaluation(
        self, peer: str, command: EvaluateCommand, report: SecureReport, state: Vector
    ) -> SecureReport:
        """Of an evaluation that gave nothing to add: its report as of any other."""
        numbers = self._spoiled(_evaluation(peer, command), EVALUATION_NUMBERS, _FAILED)
        masked = await self.masked_evaluation(peer, command, numbers, state)
        return report.model_copy(update={"masked": masked})

    async def masked_evaluation(
        self, peer: str, command: EvaluateCommand, numbers: Ring, state: Vector
    ) -> bytes:
        """Numbers of an evaluation of a state (P,) below their masks."""
        which = _evaluation(peer, command)
        return await self._sums.mask(which, numbers, state_digest(state))

    def check_comparison(self, peer: str, command: CompareCommand, state: Vector) -> None:
        """Likewise for a comparison, before anything is trained."""
        facts = {"recipe": _digest_of(command.recipe), "state": state_digest(state)}
        self._sums.require_ready(_comparison(peer, command), facts)

    async def compared(
        self, peer: str, command: CompareCommand, report: CompareReport
    ) -> SecureReport:
        """The owner's figures below their masks; its counts stay here."""
        alone = ScoreSummary(
            _dense(report.alone_ham), _dense(report.alone_spam), report.alone_loss_sum
        )
        federated = ScoreSummary(_dense(report.ham), _dense(report.spam), report.loss_sum)
        numbers = encode_comparison(gains_of(alone, federated, report.bounds))
        return SecureReport(
            masked=await self._sums.mask(_comparison(peer, command), numbers),
            seconds_working=report.seconds_comparing,
            seconds_waiting=report.seconds_waiting,
        )

    async def failed_comparison(
        self, peer: str, command: CompareCommand, report: SecureReport
    ) -> SecureReport:
        """Of a comparison that gave nothing to add: its report as of any other."""
        which = _comparison(peer, command)
        numbers = self._spoiled(which, COMPARISON_NUMBERS, _FAILED)
        return report.model_copy(update={"masked": await self._sums.mask(which, numbers)})

    def _spoiled(self, which: SumId, size: int, why: str) -> Ring:
        log.warning(
            "the %s of round %d for %s has nothing to add to its secure sum (%s): the sum will be "
            "nothing, and nobody learns whose fault it was",
            which.sum,
            which.round,
            which.peer,
            why,
        )
        return self._sums.spoiled(which, size)


def _training(peer: str, command: TrainCommand) -> SumId:
    return SumId(peer, command.run, command.round, "training")


def _evaluation(peer: str, command: EvaluateCommand) -> SumId:
    assert command.secure is not None
    return SumId(peer, *command.secure, "evaluation")


def _comparison(peer: str, command: CompareCommand) -> SumId:
    return SumId(peer, command.run, 1, "comparison")


def _digest_of(recipe: str) -> bytes:
    return recipe_digest(Recipe.from_json(recipe).to_json())


def _dense(sparse: dict[int, int]) -> Counts:
    """Counts (BINS,) of all bins."""
    counts = np.zeros(BINS, np.int64)
    counts[list(sparse)] = list(sparse.values())
    return counts
