"""What a node does in a round: some epochs over its owner's rows, in plain torch.

Made for a process of its own with one thread (`torch.set_num_threads(1)`): at these sizes more
threads cost time. The same inputs give the same bits on the same machine and libraries. Nothing
is kept between rounds: the optimiser starts afresh, so a round can be repeated and a node that
missed one is no different from the others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from shared.model.classifier import (
    SpamGRU,
    State,
    build_model,
    scanned,
    state_to_vector,
    vector_to_state,
)
from shared.model.metrics import ScoreSummary, summarise
from shared.model.recipe import Recipe, TrainingRecipe
from shared.model.scorer import scorer_of
from worker_node.training.encoded_rows import EncodedRows
from worker_node.training.optimizers import Touched, TouchedRowOptimizer, touch
from worker_node.training.proximal import Proximal

Ids = npt.NDArray[np.integer] | EncodedRows
Labels = npt.NDArray[np.integer]
OnBatch = Callable[[int, int, float], None]
OnRows = Callable[[int, int], None]

PROGRESS_SECONDS = 0.2  # between two calls of on_progress, so that telling stays cheap
_ENCODED_AT_ONCE = 4096
"""Rows that are encoded and put in order of their length before they are scored."""
_BATCHES_AHEAD = 8
"""Batches whose rows are encoded together: many are quicker together than one by one."""


class TrainingStopped(Exception):
    """`should_stop` said so; the state that training began with is untouched."""


class TrainingDiverged(Exception):
    """The loss is no finite number any more: the learning rate is too large for these rows."""


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What a round gave.

    state: the trained state (P,), float32.
    rows: rows there were to train on, once however many epochs; the weight in FedAvg.
    batches: steps taken.
    first_loss, loss: mean loss in nats over the rows of the first and the last epoch, measured
        while training, so with dropout and a model in motion.
    seconds: wall clock.
    """

    state: State
    rows: int
    batches: int
    first_loss: float
    loss: float
    seconds: float


def train(
    state: State,
    tokens: Ids,
    labels: Labels,
    recipe: Recipe,
    seed: int,
    on_progress: OnBatch = lambda done, total, loss: None,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    round_index: int = 0,
    order: int | None = None,
) -> TrainResult:
    """Trains for `recipe.training.local_epochs` epochs from `state`, which stays as it is.

    Args:
        state: the state (P,) to start from.
        tokens: ids (rows, recipe.text.width), or texts that become so when they are used.
        labels: 0 for ham, 1 for spam, (rows,).
        recipe: what to do.
        seed: of the order of rows and of dropout; a round and a node should have one of their own,
            and it should be the node's secret (worker_node/training/secret_seed.py).
        on_progress: called with batches done, batches in all and the mean loss so far in the
            epoch, some five times a second and once at the end.
        should_stop: asked before each batch.
        round_index: 0 for a run's first round; the cosine schedule depends on it.
        order: of rows of which a round goes through half at most: then each is gone through before
            any is again. The same for all rounds of a run, and the node's secret as well. None
            draws each round's rows anew.

    Raises:
        TrainingStopped: `should_stop` said so.
        TrainingDiverged: the loss stopped being finite.
        ValueError: no rows, or a state, rows or labels of the wrong shape.
    """
    _check(tokens, labels, recipe)
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trainer = _Trainer(state, tokens, labels, recipe)
        epochs = _epochs(recipe.training, len(labels), seed, order, round_index)
        losses = trainer.run(epochs, round_index, on_progress, should_stop)
    return TrainResult(
        state=state_to_vector(trainer.model),
        rows=len(labels),
        batches=trainer.optimizer.steps,
        first_loss=losses[0],
        loss=losses[-1],
        seconds=time.perf_counter() - began,
    )


def score(
    state: State,
    tokens: Ids,
    labels: Labels,
    recipe: Recipe,
    on_progress: OnRows = lambda done, total: None,
) -> ScoreSummary:
    """How the model in `state` does on these rows, as counts that may leave the node.

    Args:
        on_progress: as of `logits`.

    Raises:
        ValueError: a state, rows or labels of the wrong shape, or a state that gives NaN.
    """
    return summarise(logits(state, tokens, recipe, on_progress), labels)


def logits(
    state: State,
    tokens: Ids,
    recipe: Recipe,
    on_progress: OnRows = lambda done, total: None,
) -> npt.NDArray[np.float32]:
    """The model's logit of each row (rows,).

    Args:
        on_progress: called with rows done and rows in all, after the first some thousand, and then
            some five times a second; never at the end.
    """
    scorer = scorer_of(recipe, state)
    found, told = np.empty(len(tokens), np.float32), -math.inf
    for start in range(0, len(tokens), _ENCODED_AT_ONCE):
        rows = slice(start, start + _ENCODED_AT_ONCE)
        found[rows] = scorer.logits(tokens[rows])
        if time.monotonic() - told > PROGRESS_SECONDS and rows.stop < len(tokens):
            on_progress(rows.stop, len(tokens))
            told = time.monotonic()
    return found


def learning_rate_at(recipe: TrainingRecipe, progress: float) -> float:
    """The learning rate when `progress` (0 to 1) of all batches of all rounds are done."""
    return recipe.rate_at(progress)


class _Trainer:
    """A model, its optimiser and the rows."""

    def __init__(self, state: State, tokens: Ids, labels: Labels, recipe: Recipe) -> None:
        self.recipe = recipe
        self.model: SpamGRU = build_model(recipe).train()
        vector_to_state(self.model, state)
        self.tokens = tokens
        self.labels = labels
        self.tables = [
            module.weight.requires_grad_(False)
            for module in (self.model.embedding, self.model.wide)
            if module is not None
        ]
        dense = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = TouchedRowOptimizer(dense, self.tables, recipe.training)
        training = recipe.training
        self.proximal = Proximal(dense, self.tables, training) if training.proximal_mu else None

    def run(
        self,
        epochs: Iterator[Iterator[Tensor]],
        round_index: int,
        on_progress: OnBatch,
        should_stop: Callable[[], bool],
    ) -> list[float]:
        """Mean losses by epoch."""
        training = self.recipe.training
        rows = len(self.labels)
        total = _batches_a_round(training, rows)
        rounds = self.recipe.federation.rounds
        losses: list[float] = []
        told = time.monotonic()
        for batches in epochs:
            summed, seen = 0.0, 0
            left = islice(batches, total - self.optimizer.steps)
            for batch, ids in self._encoded(left):
                if should_stop():
                    raise TrainingStopped
                progress = (round_index + self.optimizer.steps / total) / rounds
                summed += self.step(batch, ids, learning_rate_at(training, progress)) * len(batch)
                seen += len(batch)
                if time.monotonic() - told > PROGRESS_SECONDS:
                    on_progress(self.optimizer.steps, total, summed / seen)
                    told = time.monotonic()
            if seen:
                losses.append(summed / seen)
        on_progress(total, total, losses[-1])
        return losses

    def _encoded(self, batches: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches with the ids of their rows (batch, width), of some batches at a time."""
        while some := list(islice(batches, _BATCHES_AHEAD)):
            together = self.tokens[torch.cat(some).numpy()]
            ids = torch.from_numpy(together.astype(np.int64))
            yield from zip(some, torch.split(ids, [len(batch) for batch in some]), strict=True)

    def step(self, batch: Tensor, ids: Tensor, learning_rate: float) -> float:
        """One step on the rows of `batch`, whose ids are (batch, width); the loss before it."""
        model = self.model
        words, lengths = model.arrange(ids[:, : model.tokens])
        used, where = self._touch(self.tables[0], words)
        touched = [used]
        # a number that is dropped is dropped wherever its word stands in the batch
        states = scanned(where, model.embedding_dropout(used.rows), model.cells)
        logits = model.classify(states, lengths)
        if model.wide is not None:
            features = ids[:, model.tokens :]
            used, where = self._touch(self.tables[1], features)
            touched.append(used)
            logits = logits + model.wide_logits(used.rows.squeeze(1)[where], features)
        truth = torch.from_numpy(self.labels[batch.numpy()].astype(np.float32))
        loss = functional.binary_cross_entropy_with_logits(logits, truth)
        found = loss.item()
        if not math.isfinite(found):
            raise TrainingDiverged
        torch.autograd.backward(loss)
        if self.proximal is not None:
            self.proximal.pull(touched)
        self.optimizer.step(touched, learning_rate)
        return found

    def _touch(self, table: Tensor, ids: Tensor) -> tuple[Touched, Tensor]:
        return touch(table, ids, self.proximal.moved(table) if self.proximal is not None else None)


def _batches_a_round(training: TrainingRecipe, rows: int) -> int:
    batches = training.local_epochs * math.ceil(rows / training.batch_size)
    return min(batches, training.max_batches) if training.max_batches else batches


def _epochs(
    training: TrainingRecipe, rows: int, seed: int, order: int | None, round_index: int
) -> Iterator[Iterator[Tensor]]:
    """The batches of each epoch of a round, perhaps more than the round has steps for.

    Where a round goes through half of the rows at most, rounds share one order of all rows and each
    goes on where the one before ended. The last round of a pass fills itself from the beginning of
    the same order, so that no row is twice in a round; then comes another order. All follows from
    the round's number: a round that is repeated, or resumed, has the same rows.
    """
    batches, steps = math.ceil(rows / training.batch_size), _batches_a_round(training, rows)
    if order is None or 2 * steps > batches:
        for epoch in range(training.local_epochs):
            yield _batches(rows, training.batch_size, seed, epoch)
        return
    rounds_a_pass = math.ceil(batches / steps)
    number, place = divmod(round_index, rounds_a_pass)
    dealt = list(_batches(rows, training.batch_size, order, number))
    start = place * steps
    yield iter([dealt[(start + step) % batches] for step in range(steps)])


def _batches(rows: int, size: int, seed: int, epoch: int) -> Iterator[Tensor]:
    """Row numbers in an order of their own for each epoch.

    They are dealt out evenly over as few batches as take them: a last batch of the one row that is
    left over would be a step of that row alone, which the policy's bound on a step forbids.
    """
    order = torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(rows))
    yield from torch.tensor_split(order, math.ceil(rows / size))


def _check(tokens: Ids, labels: Labels, recipe: Recipe) -> None:
    if tokens.shape != (len(labels), recipe.text.width) or labels.ndim != 1:
        raise ValueError(
            f"rows of shape {tokens.shape} and labels of shape {labels.shape} do not fit "
            f"a recipe of {recipe.text.width} ids a row"
        )
    if not len(labels):
        raise ValueError("there are no rows to train on")
