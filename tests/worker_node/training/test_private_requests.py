"""What the trainer tells in a private run is of all rows, however many, and in parts or not."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from shared.model.recipe import load_recipe
from shared.privacy.noisy_counts import NoisyCounts
from shared.privacy.private_sum import PrivateSum, Scales
from tests.helpers.messages import made_up
from worker_node.training import private_requests
from worker_node.training.trainer import Trainer

RECIPE = load_recipe("private")
HELD_OUT = made_up(50, seed=3)
TRAIN = made_up(60, seed=4)


@pytest.fixture
def loaded() -> Trainer:
    made = Trainer(io.BytesIO(), io.BytesIO())
    made._forget({})
    for part, rows in (("train", TRAIN), ("held_out", HELD_OUT)):
        labels, texts = [one.label for one in rows], [one.text for one in rows]
        made._rows_given.load({"part": part, "labels": labels, "texts": texts})
    made._loaded({"most_scored": 0, "kept_bytes": 0})
    return made


def request(multiplier: float) -> dict[str, Any]:
    state = np.zeros(RECIPE.parameters, np.float32)
    return {"state": state.tobytes(), "recipe": RECIPE.to_json(), "multiplier": multiplier}


def test_held_out_rows_are_all_counted_where_a_plain_run_would_draw_some(
    loaded: Trainer,
) -> None:
    """Which rows are drawn hangs on how many there are: one more would move many counts."""
    loaded._loaded({"most_scored": 20, "kept_bytes": 0})
    assert len(loaded._rows("held_out", RECIPE.text)[1]) == 20
    told = private_requests.counts_of(loaded._every_row, request(0.001))["numbers"]
    found = NoisyCounts.decode(np.frombuffer(told, "<u8"))
    assert round(found.ham.sum() + found.spam.sum()) == len(HELD_OUT)


@pytest.mark.parametrize("at_once", [1, 7, 4096])
@pytest.mark.parametrize("kept", [0, 10**6])
def test_rows_in_parts_add_up_to_what_they_are_together(
    loaded: Trainer, monkeypatch: pytest.MonkeyPatch, at_once: int, kept: int
) -> None:
    private_requests.forget_features()
    monkeypatch.setattr(private_requests, "AT_ONCE", at_once)
    monkeypatch.setattr(private_requests, "KEPT_ROWS", kept)
    tiny = 2000 / Scales.of(RECIPE).sensitivity  # of what a message adds
    for _ in range(2):
        told = private_requests.release_of(loaded._every_row, request(tiny))["numbers"]
        found = PrivateSum.decode(np.frombuffer(told, "<u8"), RECIPE)
        assert found.rows == pytest.approx(len(TRAIN), abs=0.1)


def test_other_rows_are_not_taken_for_those_before(loaded: Trainer) -> None:
    tiny = 2000 / Scales.of(RECIPE).sensitivity
    private_requests.release_of(loaded._every_row, request(tiny))
    loaded._forget({})
    loaded._rows_given.load({"part": "train", "labels": [1], "texts": ["win a prize"]})
    loaded._loaded({"most_scored": 0, "kept_bytes": 0})
    told = private_requests.release_of(loaded._every_row, request(tiny))["numbers"]
    found = PrivateSum.decode(np.frombuffer(told, "<u8"), RECIPE)
    assert found.rows == pytest.approx(1, abs=0.1)
