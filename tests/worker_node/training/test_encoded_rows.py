"""Rows that are encoded when they are used train and score as rows that were encoded before."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from shared.model.classifier import initial_state
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, TextRecipe, load_recipe
from tests.helpers.messages import made_up
from worker_node.data.shard import Shard, drawn_evenly, drawn_once
from worker_node.training import KEPT_BYTES, encoded_rows, local_training, pipes, trainer
from worker_node.training.encoded_rows import EncodedRows
from worker_node.training.handing_over import load_requests
from worker_node.training.local_training import logits, score, train

RECIPE = load_recipe("default")
MESSAGES = made_up(70)
TEXTS = [message.text for message in MESSAGES]
LABELS = np.array([message.label for message in MESSAGES])


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call of the encoder was given."""
    numbers: list[int] = []

    def counted(texts: Sequence[str], recipe: TextRecipe) -> np.ndarray:
        numbers.append(len(texts))
        return encode_all(texts, recipe)

    monkeypatch.setattr(encoded_rows, "encode_all", counted)
    return numbers


def _limited(batches: int) -> Recipe:
    training = RECIPE.training.model_copy(update={"max_batches": batches, "batch_size": 4})
    return RECIPE.model_copy(update={"training": training})


@pytest.mark.parametrize("kept_bytes", [0, KEPT_BYTES])
@pytest.mark.parametrize("batches", [3, 0])
def test_the_model_and_its_logits_have_the_same_bits(kept_bytes: int, batches: int) -> None:
    recipe = _limited(batches)
    state = initial_state(recipe, 1)
    before = encode_all(TEXTS, recipe.text)
    rows = EncodedRows(TEXTS, recipe.text, kept_bytes)
    expected = train(state, before, LABELS, recipe, seed=2)
    for _ in range(2):
        found = train(state, rows, LABELS, recipe, seed=2)
        assert (found.batches, found.loss) == (expected.batches, expected.loss)
        assert np.array_equal(found.state, expected.state)
    assert np.array_equal(
        logits(expected.state, rows, recipe), logits(expected.state, before, recipe)
    )


def test_only_rows_that_a_round_uses_are_encoded_and_once_where_they_are_kept(
    encoded: list[int],
) -> None:
    recipe = _limited(3)
    state = initial_state(recipe, 1)
    rows = EncodedRows(TEXTS, recipe.text)
    train(state, rows, LABELS, recipe, seed=2)
    assert 0 < sum(encoded) <= 3 * 4
    first = sum(encoded)
    train(state, rows, LABELS, recipe, seed=2)
    assert sum(encoded) == first


def test_rows_that_do_not_fit_the_bound_are_encoded_each_time(encoded: list[int]) -> None:
    bound = 4 * RECIPE.text.width * (len(TEXTS) - 1)
    rows = EncodedRows(TEXTS, RECIPE.text, bound)
    index = np.array([5, 5, 0])
    expected = encode_all([TEXTS[row] for row in index], RECIPE.text)
    for _ in range(2):
        assert np.array_equal(rows[index], expected)
    assert encoded == [3, 3]
    kept = EncodedRows(TEXTS, RECIPE.text, bound + 4 * RECIPE.text.width)
    for _ in range(2):
        assert np.array_equal(kept[index], expected)
    assert encoded[2:] == [2]


def test_what_is_handed_out_is_nobody_elses() -> None:
    rows = EncodedRows(TEXTS, RECIPE.text)
    rows[np.array([1])][:] = 0
    assert np.array_equal(rows[np.array([1])], encode_all(TEXTS[1:2], RECIPE.text))


def test_many_rows_are_scored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    state = initial_state(RECIPE, 1)
    whole = logits(state, encode_all(TEXTS, RECIPE.text), RECIPE)
    monkeypatch.setattr(local_training, "_ENCODED_AT_ONCE", 16)
    parts = logits(state, EncodedRows(TEXTS, RECIPE.text, 0), RECIPE)
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-5)
    assert len(logits(state, EncodedRows([], RECIPE.text), RECIPE)) == 0


@pytest.mark.parametrize("rows", [0, 1, 6, 7, 8, 15, 1000])
def test_rows_are_drawn_evenly_and_each_but_once(rows: int) -> None:
    drawn = list(drawn_evenly(rows, 7))
    assert len(drawn) == len(set(drawn)) == min(rows, 7)
    assert drawn == sorted(drawn)
    apart = [after - before for before, after in itertools.pairwise([*drawn, rows])]
    assert not apart or max(apart) - min(apart) <= 1


def test_of_many_held_out_messages_the_same_ones_are_scored_each_time() -> None:
    state = initial_state(RECIPE, 1)
    inbox, outbox = io.BytesIO(), io.BytesIO()
    rows = {"texts": TEXTS, "labels": LABELS.tolist()}
    scoring: dict[str, object] = {"op": "score", "state": state.tobytes()}
    scoring["recipe"] = RECIPE.to_json()
    asked: list[dict[str, object]] = [
        {"op": "forget"},
        {"op": "load", "part": "train", **rows},
        {"op": "load", "part": "held_out", **rows},
        {"op": "loaded", "most_scored": 20, "kept_bytes": KEPT_BYTES},
        scoring,
        scoring,
    ]
    inbox.write(b"".join(map(pipes.pack, asked)))
    inbox.seek(0)
    trainer.Trainer(inbox, outbox).serve()
    outbox.seek(0)
    answers = list(iter(lambda: pipes.read(outbox), None))
    index = list(drawn_once(len(TEXTS), 20))
    expected = score(
        state, EncodedRows([TEXTS[i] for i in index], RECIPE.text), LABELS[index], RECIPE
    )
    before, told = answers[-2:]
    assert [told[name] for name in ("ham", "spam")] == [before[name] for name in ("ham", "spam")]
    assert sum(told["ham"].values()) == expected.ham.sum()
    assert sum(told["spam"].values()) == expected.spam.sum() == LABELS[index].sum()
    assert told["loss_sum"] == pytest.approx(expected.loss_sum)
    shard = Shard(MESSAGES, MESSAGES, most_scored=20)
    assert list(shard.scored) == [MESSAGES[i] for i in index]
    spam = int(LABELS[index].sum())
    assert shard.told_counts()["held_out"] == {"ham": 20 - spam, "spam": spam}


@pytest.mark.parametrize(("rows_kept", "times"), [(70, 1), (69, 2), (0, 2)])
def test_a_trainer_keeps_encoded_rows_up_to_the_bound_that_it_is_told(
    encoded: list[int], rows_kept: int, times: int
) -> None:
    shard = Shard(MESSAGES, MESSAGES, most_scored=0)
    kept_bytes = rows_kept * 4 * RECIPE.text.width
    state = initial_state(RECIPE, 1)
    scoring = {"op": "score", "state": state.tobytes(), "recipe": RECIPE.to_json()}
    asked = [*load_requests(shard, None, kept_bytes), scoring, scoring]
    inbox, outbox = io.BytesIO(b"".join(map(pipes.pack, asked))), io.BytesIO()
    trainer.Trainer(inbox, outbox).serve()
    assert encoded == [len(TEXTS)] * times
