"""The work that a coordinator can ask a node for: to train, to evaluate, and to compare."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from pydantic import ValidationError

from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.wire.commands import (
    CompareCommand,
    CompareReport,
    EvaluateCommand,
    EvaluateReport,
    OnProgress,
    Progress,
    TrainCommand,
    TrainReport,
)
from worker_node.node import DataOwnerNode
from worker_node.training.trainer_process import COULD_NOT, TrainerFailed

log = logging.getLogger("fedsms.node")


async def train(
    node: DataOwnerNode, peer: str, command: TrainCommand, state: Vector, on_progress: OnProgress
) -> tuple[TrainReport, Vector]:
    """Trains on the owner's training rows.

    Args:
        peer: who asked, for the log.
        state: (P,), where the training starts; not changed.

    Returns:
        The report, and the trained state (P,).

    Raises:
        UsageError: the recipe is not valid. TrainerFailed: it cannot be done with this state and
            these rows. NodeFailed: the trainer could not do it for another reason.
    """
    what = f"training round {command.round} of {command.rounds} for {peer}"
    request = {
        "op": "train",
        "state": state.tobytes(),
        "recipe": Recipe.from_json(command.recipe).to_json(),
        "seed": command.seed,
        "order": command.order,
        "round": command.round,
    }
    answer, waited = await ask_trainer(node, request, what, on_progress, command.secure)
    log.info("%s: loss %.4f in %.2f s", what, answer["loss"], answer["seconds"])
    with _telling():
        report = TrainReport(
            rows=answer["rows"],
            batches=answer["batches"],
            loss=answer["loss"],
            seconds_training=answer["seconds"],
            seconds_waiting=waited,
        )
    # A copy, since torch wants memory that it may write to.
    return report, np.frombuffer(bytearray(answer["state"]), dtype="<f4")


async def evaluate(
    node: DataOwnerNode,
    peer: str,
    command: EvaluateCommand,
    state: Vector,
    on_progress: OnProgress,
) -> EvaluateReport:
    """Measures a state (P,) on the owner's held-out rows; raises as `train` does.

    Nothing of its progress is told where the counts leave in a secure sum: in steps of some
    thousand rows, percent say how many there are.
    """
    tell = on_progress if command.secure is None else _nothing
    recipe = Recipe.from_json(command.recipe).to_json()
    request = {"op": "score", "state": state.tobytes(), "recipe": recipe}
    answer, waited = await ask_trainer(node, request, f"evaluating for {peer}", tell, True)
    with _telling():
        return EvaluateReport(
            ham=answer["ham"],
            spam=answer["spam"],
            loss_sum=answer["loss_sum"],
            seconds_evaluating=answer["seconds"],
            seconds_waiting=waited,
        )


async def compare(
    node: DataOwnerNode, peer: str, command: CompareCommand, state: Vector, on_progress: OnProgress
) -> CompareReport:
    """Trains on the owner's rows alone, and measures that model and a state (P,) on the held-out
    rows; raises as `train` does."""
    request = {
        "op": "compare",
        "state": state.tobytes(),
        "recipe": Recipe.from_json(command.recipe).to_json(),
        "rounds": command.rounds,
        "start": command.start,
        "seed": command.seed,
    }
    what = f"training {command.rounds} rounds alone, to compare for {peer}"
    answer, waited = await ask_trainer(node, request, what, on_progress, command.secure)
    log.info("%s: %.2f s", what, answer["seconds"])
    bounds = {name: (low, high) for name, (low, high) in answer["bounds"].items()}
    counts = {name: answer[name] for name in CompareReport.COUNTS}
    with _telling():
        return CompareReport(
            **counts, bounds=bounds, seconds_comparing=answer["seconds"], seconds_waiting=waited
        )


@contextmanager
def _telling() -> Iterator[None]:
    """Of a state that was made for it, figures may be none that a report can hold."""
    try:
        yield
    except ValidationError:
        raise TrainerFailed(COULD_NOT, "its figures are too large to be told") from None


async def ask_trainer(
    node: DataOwnerNode,
    request: dict[str, Any],
    what: str,
    on_progress: OnProgress,
    is_secure: bool = False,
) -> tuple[dict[str, Any], float]:
    """The trainer's answer, and the seconds that the request waited for its turn.

    Args:
        is_secure: progress is told in percent alone: batches say how many rows there are. So is
            that of what has no batches.
    """
    asked = time.perf_counter()
    waited: float | None = None

    def on_turn() -> None:
        nonlocal waited
        waited = time.perf_counter() - asked
        node.busy_with = what

    def pass_on(event: dict[str, Any]) -> None:
        if is_secure:
            percent = 100 * event["done"] // event["total"]
            node.busy_with = f"{what}, {percent} %"
            on_progress(Progress(done=percent, total=100))
            return
        node.busy_with = f"{what}, batch {event['done']} of {event['total']}"
        on_progress(Progress(done=event["done"], total=event["total"], loss=event["loss"]))

    try:
        answer = await node.trainer.call(request, on_turn, pass_on)
        return answer, waited or 0.0
    finally:
        if waited is not None:  # else it is another's work that goes on
            node.busy_with = ""


def _nothing(_: Progress) -> None:
    """Nobody is told."""
