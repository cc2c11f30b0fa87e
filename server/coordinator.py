"""The coordinator's round loop: send, train, get, aggregate, measure.

All nodes work at the same time, transfers included. A state goes to each node once: the one that
is evaluated after a round is the one from which the next round's training starts.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from server.aggregation import weighted_mean
from server.evaluation import merged_metrics
from server.node_client import NodeClient, pack_state
from server.records import NodeRound, Observer, Round
from shared.commands import EvaluateCommand, EvaluateReport, TrainCommand, TrainReport
from shared.metrics import Metrics
from shared.recipe import Recipe
from shared.vectors import Vector, new_object_id


@dataclass
class _Turn:
    """What one node does in one round, as it is found out."""

    client: NodeClient
    bytes_sent: int = 0
    bytes_received: int = 0
    transfer: float = 0.0
    report: TrainReport | None = None
    evaluation: EvaluateReport | None = None


def node_seed(seed: int, node: str, number: int) -> int:
    """The seed of a node in a round, 0 to 2^63 - 1; a function of the run's seed alone."""
    digest = hashlib.blake2b(f"{seed}/{node}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Coordinator:
    """Trains a recipe's model on the nodes.

    Args:
        clients: a standing client for each node.
        recipe: what is trained, and for how many rounds.
        seed: the same seed, nodes and rows give the same weights, bit for bit.
        observers: told of progress and of each completed round.
    """

    def __init__(
        self,
        clients: Sequence[NodeClient],
        recipe: Recipe,
        seed: int,
        observers: Sequence[Observer] = (),
    ) -> None:
        # Sums of floats depend on their order: always the nodes' alphabetical one.
        self._clients = sorted(clients, key=lambda client: str(client.id))
        self._recipe = recipe
        self._recipe_json = recipe.to_json()
        self._seed = seed
        self._observers = observers
        self._state_id = 0
        self._mark = 0.0  # when the last round's record was made: no time falls between rounds

    async def run(self, state: Vector) -> Vector:
        """All rounds, from a start state (P,); gives the final one.

        Safe to cancel: completed rounds have been told to the observers, and what the nodes do is
        stopped when their connections close.

        Raises:
            FedsmsError: a node is lost, or failed; the error names it.
        """
        self._mark = time.perf_counter()
        turns = [_Turn(client) for client in self._clients]
        packed = self._pack(state, None)
        await _together(self._send(turn, packed) for turn in turns)
        for number in range(1, self._recipe.federation.rounds + 1):
            state = await self._round(number, state, turns)
            turns = [_Turn(client) for client in self._clients]
        return state

    async def evaluate(self, state: Vector) -> tuple[Metrics, dict[str, Metrics]]:
        """Metrics of a state (P,) on the owners' held-out rows: overall, and by node id."""
        turns = [_Turn(client) for client in self._clients]
        packed = self._pack(state, None)
        await _together(self._evaluate(0, turn, packed) for turn in turns)
        return merged_metrics(_evaluations(turns))

    async def _round(self, number: int, state: Vector, turns: list[_Turn]) -> Vector:
        base, base_id = state, self._state_id
        results = await _together(self._train(number, turn, base) for turn in turns)
        state = weighted_mean(results, base.shape)
        del results  # as large as the model for each node
        packed = self._pack(state, base)
        await _together(self._evaluate(number, turn, packed, base_id) for turn in turns)
        started, self._mark = self._mark, time.perf_counter()
        record = self._record(number, turns, self._mark - started)
        for observer in self._observers:
            observer.on_round(record, state)
        return state

    def _pack(self, state: Vector, base: Vector | None) -> bytes:
        self._state_id = new_object_id()
        return pack_state(state, base, self._state_id)

    async def _send(self, turn: _Turn, packed: bytes) -> None:
        self._tell(1, turn, "sending")
        with _Measured(turn):
            await turn.client.send_state(packed)

    async def _train(self, number: int, turn: _Turn, base: Vector) -> tuple[Vector, int]:
        """Trains on one node, from the state `base` that it has.

        Returns:
            The trained state (P,), and the rows that it was trained on.
        """
        client, result_id = turn.client, new_object_id()
        command = TrainCommand(
            state_id=self._state_id,
            result_id=result_id,
            recipe=self._recipe_json,
            seed=node_seed(self._seed, str(client.id), number),
            round=number,
            rounds=self._recipe.federation.rounds,
        )
        self._tell(number, turn, "training")
        with _Measured(turn):
            report = await client.train(
                command, lambda progress: self._tell(number, turn, "training", progress)
            )
            self._tell(number, turn, "fetching")
            trained = await client.fetch_state(result_id, base)
        turn.transfer -= report.seconds_training + report.seconds_waiting
        turn.report = report
        self._tell(number, turn, "waiting")
        return trained, report.rows

    async def _evaluate(
        self, number: int, turn: _Turn, packed: bytes, base_id: int | None = None
    ) -> None:
        """Sends a state to one node and has it evaluated; it replaces the one called `base_id`."""
        client = turn.client
        self._tell(number, turn, "evaluating")
        command = EvaluateCommand(
            state_id=self._state_id, base_id=base_id, recipe=self._recipe_json
        )
        with _Measured(turn):
            # One after the other on the wire, without waiting for an answer in between.
            steps: list[Coroutine[Any, Any, Any]] = [client.send_state(packed)]
            steps.append(client.evaluate(command))
            steps += [client.forget(base_id)] if base_id is not None else []
            turn.evaluation = (await _together(steps))[1]
        turn.transfer -= turn.evaluation.seconds_evaluating + turn.evaluation.seconds_waiting
        self._tell(number, turn, "waiting")

    def _tell(self, number: int, turn: _Turn, stage: str, progress: Any = None) -> None:
        for observer in self._observers:
            observer.on_progress(number, str(turn.client.id), stage, progress)

    def _record(self, number: int, turns: list[_Turn], seconds: float) -> Round:
        overall, each = merged_metrics(_evaluations(turns))
        nodes = tuple(_node_round(turn, each[str(turn.client.id)], seconds) for turn in turns)
        rows = sum(node.rows for node in nodes)
        return Round(
            number=number,
            rounds=self._recipe.federation.rounds,
            loss=sum(node.loss * node.rows for node in nodes) / rows,
            metrics=overall,
            nodes=nodes,
            seconds=seconds,
            seconds_outside=seconds - max(node.seconds_training for node in nodes),
        )


class _Measured:
    """Adds the seconds and bytes of a block to a turn."""

    def __init__(self, turn: _Turn) -> None:
        self._turn = turn

    def __enter__(self) -> None:
        link = self._turn.client.link
        self._before = (time.perf_counter(), link.bytes_sent, link.bytes_received)

    def __exit__(self, *_: object) -> None:
        turn, (started, sent, received) = self._turn, self._before
        turn.transfer += time.perf_counter() - started
        turn.bytes_sent += turn.client.link.bytes_sent - sent
        turn.bytes_received += turn.client.link.bytes_received - received


def _evaluations(turns: list[_Turn]) -> dict[str, EvaluateReport]:
    return {str(turn.client.id): turn.evaluation for turn in turns if turn.evaluation is not None}


def _node_round(turn: _Turn, metrics: Metrics, seconds: float) -> NodeRound:
    report, evaluation = turn.report, turn.evaluation
    assert report is not None
    assert evaluation is not None
    transfer = max(0.0, turn.transfer)
    busy = report.seconds_training + evaluation.seconds_evaluating + transfer
    return NodeRound(
        node=str(turn.client.id),
        rows=report.rows,
        loss=report.loss,
        metrics=metrics,
        seconds_waiting=max(0.0, seconds - busy),
        seconds_training=report.seconds_training,
        seconds_evaluating=evaluation.seconds_evaluating,
        seconds_transfer=transfer,
        bytes_sent=turn.bytes_sent,
        bytes_received=turn.bytes_received,
    )


async def _together(steps: Any) -> list[Any]:
    """All at the same time; the first failure ends the others and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step) for step in steps]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
