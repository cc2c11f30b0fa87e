"""What an owner would have without the others: a model trained on its own rows alone.

It begins where the federated one began, and takes as many rounds of the same recipe, one after the
other. It stays here: what is told of it are counts of held-out rows by bin of their score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shared.model.classifier import State, initial_state
from shared.model.metrics import ScoreSummary, bin_of, summarise
from shared.model.recipe import Recipe
from worker_node.training.bootstrap import bounds_of
from worker_node.training.local_training import Ids, Labels, OnBatch, logits, train


@dataclass(frozen=True, eq=False)
class AgainstAlone:
    """Both models on the held-out rows.

    bounds: as bounds_of gives them.
    """

    alone: ScoreSummary
    federated: ScoreSummary
    bounds: dict[str, tuple[int, int]]


def train_alone(
    tokens: Ids,
    labels: Labels,
    recipe: Recipe,
    rounds: int,
    start: int,
    seed_of: Callable[[int], int],
    order: int,
    on_progress: OnBatch = lambda done, total, loss: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> State:
    """The state (P,) after so many rounds on these rows alone; raises as `train` does.

    Args:
        rounds: 1 or more.
        start: the seed of the run's first state.
        seed_of: the seed of a round, by its number from 1. order: as of `train`, of all rounds.
        on_progress: as of `train`, over all rounds together.
    """
    state: State = initial_state(recipe, start)
    for number in range(1, rounds + 1):

        def tell(done: int, total: int, loss: float, before: int = number - 1) -> None:
            on_progress(before * total + done, rounds * total, loss)

        state = train(
            state,
            tokens,
            labels,
            recipe,
            seed_of(number),
            tell,
            should_stop,
            round_index=number - 1,
            order=order,
        ).state
    return state


def against(
    alone: State, federated: State, tokens: Ids, labels: Labels, recipe: Recipe, seed: int
) -> AgainstAlone:
    """Both states (P,) on the same held-out rows.

    Args:
        seed: of the intervals' drawing.

    Raises:
        ValueError: a state, rows or labels of the wrong shape, or a state that gives NaN.
    """
    first, second = (logits(state, tokens, recipe) for state in (alone, federated))
    flags = np.asarray(labels)
    return AgainstAlone(
        summarise(first, flags),
        summarise(second, flags),
        bounds_of(bin_of(first), bin_of(second), flags, seed),
    )
