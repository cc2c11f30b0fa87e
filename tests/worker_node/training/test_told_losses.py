"""What a training tells of itself: losses by plain torch, progress, and where its schedule is."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch

from shared.model.classifier import SpamGRU, initial_state, vector_to_state
from shared.model.recipe import Recipe
from worker_node.training import local_training
from worker_node.training.local_training import train

ROWS, SIZE, EPOCHS = 40, 7, 3
BATCHES = 6  # 40 rows in batches of 7 at most


def recipe(learning_rate: float = 1e-12) -> Recipe:
    """One that moves nothing, so that every loss is that of the state it began with."""
    return Recipe.parse(
        {
            "text": {"tokens": 6, "buckets": 29},
            "model": {"embedding": 4, "hidden": 3, "dropout": 0.0},
            "training": {
                "learning_rate": learning_rate,
                "batch_size": SIZE,
                "local_epochs": EPOCHS,
            },
            "federation": {"rounds": 5},
        },
        "here",
    )


def rows() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    tokens = generator.integers(1, 29, (ROWS, 6)).astype(np.int32)
    return tokens, generator.integers(0, 2, ROWS)


def own_losses(state: np.ndarray, tokens: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of each row by plain torch, (rows,)."""
    model = SpamGRU(recipe())
    vector_to_state(model, state)
    model.eval()
    with torch.no_grad():
        logits = model(torch.from_numpy(tokens).long()).numpy()
    signed = np.where(labels == 1, logits, -logits)
    return np.asarray(np.log1p(np.exp(-signed)))


def test_a_loss_is_the_mean_over_all_rows_and_progress_that_over_those_so_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local_training, "PROGRESS_SECONDS", -1.0)
    tokens, labels = rows()
    state = 5 * initial_state(recipe(), 1)
    each = own_losses(state, tokens, labels)
    assert each.std() > 0.1
    told: list[tuple[int, int, float]] = []
    began = time.perf_counter()
    result = train(
        state, tokens, labels, recipe(), seed=2, on_progress=lambda *one: told.append(one)
    )
    elapsed = time.perf_counter() - began
    assert result.first_loss == pytest.approx(each.mean(), rel=1e-5)
    assert result.loss == pytest.approx(each.mean(), rel=1e-5)
    assert (result.rows, result.batches) == (ROWS, BATCHES * EPOCHS)
    assert 0 < result.seconds <= elapsed
    total = BATCHES * EPOCHS
    assert [one[:2] for one in told] == [(done, total) for done in (*range(1, total + 1), total)]
    expected: list[float] = []
    for epoch in range(EPOCHS):
        order = np.random.default_rng((2, epoch)).permutation(ROWS)
        sizes = np.cumsum([7, 7, 7, 7, 6, 6])
        expected += [each[order[:seen]].mean() for seen in sizes]
    assert [one[2] for one in told] == pytest.approx([*expected, each.mean()], rel=1e-5)


@pytest.mark.parametrize("number", [None, 0, 3])
def test_each_step_takes_the_schedules_rate_at_its_place_in_the_run(
    number: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[float] = []

    def rate(training: object, progress: float) -> float:
        places.append(progress)
        return 1e-12

    monkeypatch.setattr(local_training, "learning_rate_at", rate)
    tokens, labels = rows()
    more: dict[str, Any] = {} if number is None else {"round_index": number}
    train(initial_state(recipe(), 1), tokens, labels, recipe(), seed=2, **more)
    steps = BATCHES * EPOCHS
    assert places == pytest.approx([((number or 0) + step / steps) / 5 for step in range(steps)])


def test_labels_in_a_table_are_no_labels() -> None:
    tokens, labels = rows()
    with pytest.raises(ValueError, match="labels"):
        train(initial_state(recipe(), 1), tokens, labels[:, None], recipe(), seed=2)


@pytest.mark.parametrize(
    ("count", "seconds", "calls"),
    [
        (11, -1.0, [(4, 11), (8, 11)]),
        (8, -1.0, [(4, 8)]),
        (11, 1e9, [(4, 11)]),
        (4, -1.0, []),
        (0, -1.0, []),
    ],
)
def test_scoring_tells_of_rows_after_the_first_some_and_never_at_the_end(
    monkeypatch: pytest.MonkeyPatch, count: int, seconds: float, calls: list[tuple[int, int]]
) -> None:
    assert (local_training._ENCODED_AT_ONCE, local_training.PROGRESS_SECONDS) == (4096, 0.2)
    monkeypatch.setattr(local_training, "_ENCODED_AT_ONCE", 4)
    monkeypatch.setattr(local_training, "PROGRESS_SECONDS", seconds)
    tokens, labels = rows()
    state, told = initial_state(recipe(), 1), list[tuple[int, int]]()
    found = local_training.logits(state, tokens[:count], recipe(), lambda *one: told.append(one))
    assert told == calls
    each = own_losses(state, tokens, labels)[:count]
    signed = np.where(labels[:count] == 1, found, -found)
    assert np.log1p(np.exp(-signed)) == pytest.approx(each, rel=1e-4)
    again = list[tuple[int, int]]()
    local_training.score(
        state, tokens[:count], labels[:count], recipe(), lambda *one: again.append(one)
    )
    assert again == calls


class Recorded:
    """Rows of ids that remember which were asked for together."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids, self.shape, self.asked = ids, ids.shape, list[list[int]]()

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        self.asked.append(index.tolist())
        found: np.ndarray = self.ids[index]
        return found


def test_rows_of_eight_batches_are_encoded_together_each_once_an_epoch() -> None:
    generator = np.random.default_rng(3)
    ids = Recorded(generator.integers(1, 29, (70, 6)).astype(np.int32))
    train(initial_state(recipe(), 1), ids, np.zeros(70, int), recipe(), seed=2)  # type: ignore[arg-type]
    assert [len(some) for some in ids.asked] == [56, 14] * EPOCHS
    for epoch in range(EPOCHS):
        order = np.random.default_rng((2, epoch)).permutation(70).tolist()
        assert ids.asked[2 * epoch] + ids.asked[2 * epoch + 1] == order
