"""Training the article's way: batch by batch, each on the node where it lives, through pointers.

For each batch the model is sent to its node, runs forward and backward there, is clipped and moved
a step there, and comes back. One epoch over all nodes is told as a round. It blocks, so it runs in
a thread beside the event loop that carries the connections.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from server.pointers.client import PointerClient
from server.pointers.replay import ReplayedStep
from server.pointers.stepwise import check_stepwise, stepwise_logits
from server.rounds.claims import claim_words
from server.rounds.evaluation import Evaluation, evaluated, summary_of
from server.rounds.records import NodeRound, Observer, Round
from shared.errors import NodeFailed
from shared.model.classifier import build_model, state_to_vector, vector_to_state
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.pointers.commands import INPUTS_TAG, LABELS_TAG, TEST_TAG, TRAIN_TAG
from shared.pysyft import sy
from shared.wire.commands import EvaluateReport, Progress

PROGRESS_SECONDS = 0.2
SCORED_AT_ONCE = 512
"""Rows that one forward pass of the evaluation takes; keeps a node's memory small."""


class RunStopped(Exception):
    """`should_stop` said so; completed rounds have been told."""


@dataclass
class _Part:
    """One node's rows, and what it did in the round that goes on. Times in seconds."""

    worker: PointerClient
    inputs: Any
    labels: Any
    rows: int
    done: int = 0
    loss_sum: float = 0.0
    training: float = 0.0
    transfer: float = 0.0
    evaluating: float = 0.0
    told: float = 0.0
    bytes_before: tuple[int, int] = (0, 0)

    def begin(self) -> None:
        self.done, self.loss_sum = 0, 0.0
        self.training = self.transfer = self.evaluating = 0.0
        self.bytes_before = self.bytes()

    def bytes(self) -> tuple[int, int]:
        return self.worker.link.bytes_sent, self.worker.link.bytes_received

    def record(self, node: str, evaluation: Evaluation, seconds: float) -> NodeRound:
        """Args: seconds: of the whole round."""
        sent, received = self.bytes()
        return NodeRound.of(
            node,
            self.rows,
            self.loss_sum / max(self.done, 1),
            evaluation.each[node],
            seconds,
            training=self.training,
            evaluating=self.evaluating,
            transfer=self.transfer,
            bytes_sent=sent - self.bytes_before[0],
            bytes_received=received - self.bytes_before[1],
            held_out_rows_counted=evaluation.counted[node],
        )


class PointerTraining:
    """Trains a recipe's model on the nodes' rows through pointers.

    Args:
        workers: one for each node, opened with the recipe.
        recipe: what is trained; raises UsageError where pointers cannot train it.
        seed: of the order of rows. The same seed, nodes and rows give the same weights.
        observers: told of progress and of each completed round, in the caller's thread.
        replay: record the step, and then replay it with one message a batch.
        should_stop: asked before each batch.
    """

    def __init__(
        self,
        workers: Sequence[PointerClient],
        recipe: Recipe,
        seed: int,
        observers: Sequence[Observer] = (),
        replay: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        check_stepwise(recipe)
        self._workers = sorted(workers, key=lambda worker: str(worker.id))
        self._recipe = recipe
        self._seed = seed
        self._observers = observers
        self._should_stop = should_stop
        self._replay = replay
        self._model: Any = build_model(recipe)
        training = recipe.training
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=training.learning_rate)

    def run(self, state: Vector) -> Vector:
        """All rounds, from a start state (P,); gives the final one.

        Raises:
            RunStopped. FedsmsError: a node is lost, or failed; the error names it.
        """
        torch.manual_seed(self._seed)
        vector_to_state(self._model, state)
        parts = {str(worker.id): self._part(worker) for worker in self._workers}
        steps = {node: ReplayedStep(part.worker, self._step) for node, part in parts.items()}
        datasets = [sy.BaseDataset(part.inputs, part.labels) for part in parts.values()]
        loader = sy.FederatedDataLoader(
            sy.FederatedDataset(datasets),
            batch_size=self._recipe.training.batch_size,
            shuffle=True,
        )
        for number in range(1, self._recipe.federation.rounds + 1):
            started = time.perf_counter()
            for part in parts.values():
                part.begin()
            self._model.train()
            for _ in range(self._recipe.training.local_epochs):
                self._epoch(number, loader, parts, steps)
            evaluations = self._evaluate(number, parts)
            state = state_to_vector(self._model)
            self._tell_round(number, parts, evaluations, time.perf_counter() - started, state)
        return state

    def _part(self, worker: PointerClient) -> _Part:
        inputs, labels = _rows(worker, TRAIN_TAG)
        return _Part(worker, inputs, labels, int(inputs.shape[0]))

    def _epoch(
        self, number: int, loader: Any, parts: dict[str, _Part], steps: dict[str, ReplayedStep]
    ) -> None:
        for part in parts.values():
            part.done, part.loss_sum = 0, 0.0  # a round tells the loss of its last epoch
        for inputs, labels in loader:
            if self._should_stop():
                raise RunStopped
            node = str(inputs.location.id)
            part = parts[node]
            rows = min(self._recipe.training.batch_size, part.rows - part.done)
            self._batch(part, steps[node], inputs, labels, rows)
            if time.monotonic() - part.told > PROGRESS_SECONDS or part.done == part.rows:
                part.told = time.monotonic()
                progress = Progress(
                    done=part.done, total=part.rows, loss=part.loss_sum / max(part.done, 1)
                )
                self._tell(number, node, "training", progress)

    def _batch(self, part: _Part, step: ReplayedStep, inputs: Any, labels: Any, rows: int) -> None:
        started = time.perf_counter()
        self._model.send(part.worker)
        sent = time.perf_counter()
        if self._replay:
            (loss,) = step((inputs, labels), list(self._model.parameters()), kind=rows)
        else:
            (loss,) = self._step(inputs, labels)
        value = loss.get().item()
        trained = time.perf_counter()
        self._model.get()
        got = time.perf_counter()
        if value < 0:
            raise NodeFailed(f"node {part.worker.id} sent an impossible loss", f"{value:g}")
        if not value < float("inf"):
            raise NodeFailed(
                f"the training on node {part.worker.id} diverged",
                "the loss is no finite number any more",
                "A smaller learning rate may help.",
            )
        part.done += rows
        part.loss_sum += value * rows
        part.training += trained - sent
        part.transfer += sent - started + got - trained

    def _step(self, inputs: Any, labels: Any) -> tuple[Any]:
        """One batch, wherever the model and the batch are; the loss before the step."""
        self._optimizer.zero_grad()
        logits = stepwise_logits(self._model, inputs)
        loss = functional.binary_cross_entropy_with_logits(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        clip = self._recipe.training.clip_norm
        if clip:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), clip)
        self._optimizer.step()
        return (loss,)

    def _evaluate(self, number: int, parts: dict[str, _Part]) -> dict[str, EvaluateReport]:
        """Each node's counts of scores of its held-out rows; scores and labels stay there."""
        reports = {}
        self._model.eval()
        for node, part in parts.items():
            self._tell(number, node, "evaluating", None)
            started = time.perf_counter()
            inputs, labels = _rows(part.worker, TEST_TAG)
            self._model.send(part.worker)
            starts = range(0, inputs.shape[0], SCORED_AT_ONCE) or [0]
            logits = [
                stepwise_logits(self._model, inputs[start : start + SCORED_AT_ONCE])
                for start in starts
            ]
            reports[node] = part.worker.summarise(logits, [labels])
            summary_of(node, reports[node], rows=int(inputs.shape[0]))
            del logits
            self._model.get()
            part.evaluating = time.perf_counter() - started
        return reports

    def _tell(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        for observer in self._observers:
            observer.on_progress(number, node, stage, progress)

    def _tell_round(
        self,
        number: int,
        parts: dict[str, _Part],
        evaluations: dict[str, EvaluateReport],
        seconds: float,
        state: Vector,
    ) -> None:
        bound = self._recipe.federation.rows_bound
        evaluation = evaluated(evaluations, bound)
        for node, (rows, counted) in evaluation.cut.items():
            for observer in self._observers:
                words = claim_words(rows, counted, bound, "held-out rows")
                observer.on_notice(number, node, words)
        nodes = [part.record(node, evaluation, seconds) for node, part in parts.items()]
        record = Round.of(
            number,
            self._recipe.federation.rounds,
            nodes,
            evaluation.overall,
            seconds,
            seconds_training=sum(node.seconds_training for node in nodes),
        )
        for observer in self._observers:
            observer.on_round(record, state)


def _rows(worker: PointerClient, tag: str) -> tuple[Any, Any]:
    """Pointers to a node's inputs and labels. Raises NodeFailed where it has none to find."""
    found = [worker.search([tag, part]) for part in (INPUTS_TAG, LABELS_TAG)]
    if any(len(pointers) != 1 for pointers in found):
        raise NodeFailed(f"node {worker.id} has no one tensor {tag} of inputs and one of labels")
    return found[0][0], found[1][0]
