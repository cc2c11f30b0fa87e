"""From the nodes' results of a round to the next state of the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.recipe import FederationRecipe

Vector = npt.NDArray[np.float32]
ServerState = dict[str, npt.NDArray[np.float32]]


def aggregate(
    previous: Vector,
    results: Sequence[tuple[Vector, int]],
    recipe: FederationRecipe,
    server_state: ServerState,
) -> Vector:
    """The next state (P,), a new array; no input is changed but `server_state`.

    Args:
        previous: the state (P,) that the nodes started the round from.
        results: each node's state (P,) and the rows it trained on. Sums of floats depend on their
            order: sort by node id where a run must repeat to the bit.
        recipe: says how.
        server_state: what the aggregation remembers between rounds, by name; starts empty, is
            changed here and belongs into a checkpoint.

    Raises:
        ValueError: no results, a result of another shape, or none with a row.
    """
    return weighted_mean(results, previous.shape)


def weighted_mean(results: Sequence[tuple[Vector, int]], shape: tuple[int, ...]) -> Vector:
    """FedAvg: the mean of the states weighted by rows, summed in float64.

    McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, 2017.
    """
    rows = sum(count for _, count in results)
    if rows <= 0:
        raise ValueError("there are no results to aggregate, or none was trained on a row")
    total = np.zeros(shape, np.float64)
    for vector, count in results:
        if vector.shape != shape:
            raise ValueError(f"a result has shape {vector.shape}, the model's state has {shape}")
        total += vector.astype(np.float64) * (count / rows)
    return total.astype(np.float32)
