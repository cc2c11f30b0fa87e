"""From the nodes' results of a round to the next state of the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.vectors import Vector


def weighted_mean(results: Sequence[tuple[Vector, int]], shape: tuple[int, ...]) -> Vector:
    """FedAvg: the mean of the states weighted by rows, summed in float64.

    McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized Data, 2017.
    """
    rows = sum(count for _, count in results)
    if rows <= 0:
        raise ValueError("there are no results to aggregate, or none was trained on a row")
    total, weighted = np.zeros(shape, np.float64), np.empty(shape, np.float64)
    for vector, count in results:
        if vector.shape != shape:
            raise ValueError(f"a result has shape {vector.shape}, the model's state has {shape}")
        total += np.multiply(vector, count / rows, out=weighted, dtype=np.float64)
    return total.astype(np.float32)
