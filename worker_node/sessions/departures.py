"""What is about to leave after a training, as whoever gets it reads it: for the leak receipt."""

from __future__ import annotations

from typing import Any

import numpy as np

from shared.model.recipe import Recipe
from shared.model.vectors import Vector, plain_array
from shared.privacy.private_sum import UNIT
from shared.privacy.reading_updates import Numbers
from shared.secure_aggregation.fixed_point import FRACTION_BITS
from shared.secure_aggregation.messages import Masked
from shared.wire.commands import TrainCommand, TrainReport
from worker_node.guarding.leak_receipts import Departure
from worker_node.privacy.receipts import Leaving
from worker_node.training.known_trainings import Trained


def departure_of(
    peer: str, command: TrainCommand, state: Vector, trained: Trained, result: Any
) -> Departure:
    """The update that a coordinator would have.

    Args:
        state: (P,), where the training began.
        trained: what came of it, before it was masked.
        result: the object to fetch.
    """
    recipe = Recipe.from_json(command.recipe)
    report, numbers = trained
    told = numbers
    if command.secure:
        array = plain_array(result)
        assert array is not None
        masked = Masked.unpack(array.tobytes(), array.nbytes)
        told = np.frombuffer(masked.numbers, "<u8")
    first = told[: recipe.parameters]
    found: Numbers
    if recipe.is_private:
        found = first.view(np.int64) / UNIT
    elif command.secure:
        assert isinstance(report, TrainReport)
        found = first.view(np.int64) * 2.0**-FRACTION_BITS / report.rows - state
    else:
        found = first.astype(np.float64) - state
    leaves: Leaving = "noisy sum" if recipe.is_private else "update"
    return Departure(
        peer,
        command.run,
        command.round,
        command.rounds,
        recipe,
        _MASKED[leaves] if command.secure else leaves,
        found,
    )


_MASKED: dict[Leaving, Leaving] = {"update": "masked update", "noisy sum": "masked noisy sum"}
