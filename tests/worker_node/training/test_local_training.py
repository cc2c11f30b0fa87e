"""Local training against dense training by torch itself, and its manners."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shared.model import scorer
from shared.model.classifier import SpamGRU, initial_state, state_to_vector, vector_to_state
from shared.model.metrics import metrics_from
from shared.model.recipe import Recipe, TrainingRecipe, load_recipe
from worker_node.training import local_training
from worker_node.training.local_training import (
    TrainingDiverged,
    TrainingStopped,
    learning_rate_at,
    logits,
    score,
    train,
)
from worker_node.training.optimizers import TouchedRowOptimizer, touch

WIDE = {
    "embedding": 4,
    "hidden": 3,
    "directions": 2,
    "pooling": "max-mean",
    "skip_padding": True,
    "dropout": 0.0,
}
NARROW = {"embedding": 4, "hidden": 3, "dropout": 0.0}


def _recipe(model: dict[str, Any], ngrams: int = 0, **training: Any) -> Recipe:
    text = {"tokens": 6, "buckets": 29, "ngrams": ngrams, "ngram_buckets": 13}
    return Recipe.parse({"text": text, "model": model, "training": training}, "here")


def _rows(recipe: Recipe, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose label follows from whether word 3 is among them."""
    generator = np.random.default_rng(seed)
    words = generator.integers(4, 29, (rows, 6))
    words[:, :2] *= generator.integers(0, 2, (rows, 1))
    labels = generator.integers(0, 2, rows)
    words[labels == 1, 3] = 3
    features = generator.integers(0, 13, (rows, recipe.text.ngrams))
    return np.concatenate([words, features], axis=1).astype(np.int32), labels


def _dense(
    state: np.ndarray, tokens: np.ndarray, labels: np.ndarray, recipe: Recipe, seed: int
) -> np.ndarray:
    """The same training with torch alone: dense gradients, its own GRU, clipping and SGD.

    With FedProx, its term is a part of the loss, over all parameters and all rows of tables.
    """
    model = SpamGRU(recipe)
    vector_to_state(model, state)
    training = recipe.training
    starts = [one.detach().clone() for one in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=training.learning_rate)
    for epoch in range(training.local_epochs):
        for batch in local_training._batches(len(labels), training.batch_size, seed, epoch):
            optimizer.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                model(torch.from_numpy(tokens)[batch].long()),
                torch.from_numpy(labels)[batch].float(),
            )
            for one, start in zip(model.parameters(), starts, strict=True):
                loss = loss + training.proximal_mu / 2 * (one - start).pow(2).sum()
            torch.autograd.backward(loss)
            if training.clip_norm:
                torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
            optimizer.step()
    return state_to_vector(model)


@pytest.mark.parametrize("proximal_mu", [0.0, 0.3])
@pytest.mark.parametrize("clip_norm", [0.0, 0.05, 5.0])
@pytest.mark.parametrize(("model", "ngrams"), [(NARROW, 0), (WIDE, 4)])
def test_touched_row_sgd_equals_dense_sgd(
    model: dict[str, Any], ngrams: int, clip_norm: float, proximal_mu: float
) -> None:
    steps = {"batch_size": 7, "local_epochs": 3, "proximal_mu": proximal_mu}
    recipe = _recipe(model, ngrams, learning_rate=0.5, clip_norm=clip_norm, **steps)
    tokens, labels = _rows(recipe, 40)
    state = initial_state(recipe, 1)
    trained = train(state, tokens, labels, recipe, seed=2).state
    expected = _dense(state, tokens, labels, recipe, seed=2)

    assert np.abs(expected - state).max() > 0.05
    np.testing.assert_allclose(trained, expected, rtol=0, atol=2e-5)


def test_the_proximal_term_keeps_a_model_near_its_start_and_none_changes_no_bit() -> None:
    recipes = {
        mu: _recipe(WIDE, 4, optimizer="adam", local_epochs=5, proximal_mu=mu)
        for mu in (0.0, 1.0, 100.0)
    }
    tokens, labels = _rows(recipes[0.0], 50)
    state = initial_state(recipes[0.0], 1)
    ends = {mu: train(state, tokens, labels, one, seed=2) for mu, one in recipes.items()}
    apart = [float(np.linalg.norm(one.state - state)) for one in ends.values()]
    assert apart == sorted(apart, reverse=True)
    assert apart[0] > 1.5 * apart[1] > 1.5 * apart[2] > 0
    plain = _recipe(WIDE, 4, optimizer="adam", local_epochs=5)
    assert np.array_equal(train(state, tokens, labels, plain, seed=2).state, ends[0.0].state)
    # the loss that is told is the rows' own: near the start it is that of the start
    assert ends[100.0].first_loss == pytest.approx(ends[0.0].first_loss, rel=0.2)


def test_under_adam_the_pull_leaves_rows_alone_that_no_batch_names() -> None:
    recipe = _recipe(WIDE, 4, optimizer="adam", proximal_mu=0.5)
    tokens, labels = _rows(recipe, 30)
    tokens[:, 2:6] = np.minimum(tokens[:, 2:6], 20)
    state = initial_state(recipe, 1)
    trained = train(state, tokens, labels, recipe, seed=2).state
    model = SpamGRU(recipe)
    vector_to_state(model, trained - state)
    moved = model.embedding.weight.detach().abs().sum(dim=1) > 0
    assert set(moved.nonzero().flatten().tolist()) <= set(tokens[:, :6].ravel().tolist())


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 9))
def test_lazy_adam_equals_torchs_adam_while_every_row_is_touched(
    seed: int, steps: int, rows: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(rows, 3, generator=generator)
    twin = torch.nn.Parameter(table.clone())
    recipe = TrainingRecipe(optimizer="adam", clip_norm=0.0)
    ours = TouchedRowOptimizer([torch.nn.Parameter(torch.zeros(1))], [table], recipe)
    reference = torch.optim.Adam([twin], lr=0.01)
    for _ in range(steps):
        grad = torch.randn(rows, 3, generator=generator)
        touched, _ = touch(table, torch.arange(rows))
        touched.rows.grad, twin.grad = grad.clone(), grad.clone()
        ours.step([touched], 0.01)
        reference.step()

    torch.testing.assert_close(table, twin.detach(), rtol=1e-5, atol=1e-6)


def test_lazy_adam_leaves_untouched_rows_and_their_moments_alone() -> None:
    table = torch.ones(4, 2)
    recipe = TrainingRecipe(optimizer="adam")
    optimizer = TouchedRowOptimizer([torch.nn.Parameter(torch.zeros(1))], [table], recipe)

    for rows in ([1, 3], [3]):
        touched, _ = touch(table, torch.tensor(rows))
        touched.rows.grad = torch.ones_like(touched.rows)
        optimizer.step([touched], 0.1)
        if rows == [1, 3]:
            after_one = table.clone()

    assert torch.equal(table[[0, 2]], torch.ones(2, 2))
    assert torch.equal(table[1], after_one[1])
    assert (table[3] < after_one[3]).all()


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1))
def test_touched_rows_are_distinct_and_lead_back_to_every_id(ids: list[list[int]]) -> None:
    table = torch.arange(20.0).view(10, 2)
    wanted = torch.tensor(ids)
    touched, where = touch(table, wanted)

    assert touched.index.tolist() == sorted({i for row in ids for i in row})
    assert torch.equal(touched.rows.detach()[where], table[wanted])


def test_the_same_inputs_give_the_same_bits_and_another_seed_does_not() -> None:
    recipe = _recipe(WIDE | {"dropout": 0.3, "embedding_dropout": 0.3}, 4, optimizer="adam")
    tokens, labels = _rows(recipe, 50)
    state = initial_state(recipe, 1)
    kept = state.copy()
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    one = train(state, tokens, labels, recipe, seed=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(7)
    same, other = (train(state, tokens, labels, recipe, seed=seed) for seed in (2, 3))

    assert np.array_equal(one.state, same.state)
    assert (one.loss, one.batches) == (same.loss, same.batches)
    assert not np.array_equal(one.state, other.state)
    assert np.array_equal(state, kept)


def test_a_round_ends_at_its_largest_number_of_batches_also_amid_an_epoch() -> None:
    recipe = _recipe({}, 0, batch_size=4, local_epochs=3, max_batches=7)
    tokens, labels = _rows(recipe, 20)
    told: list[tuple[int, int]] = []
    state = initial_state(recipe, 1)
    result = train(
        state, tokens, labels, recipe, 2, lambda done, total, _: told.append((done, total))
    )
    assert (result.batches, told[-1], result.rows) == (7, (7, 7), 20)

    one_epoch = _recipe({}, 0, batch_size=4, local_epochs=1, max_batches=0)
    bounded = _recipe({}, 0, batch_size=4, local_epochs=3, max_batches=5)
    first, second = (train(state, tokens, labels, one, seed=2) for one in (one_epoch, bounded))
    assert np.array_equal(first.state, second.state)


@pytest.mark.parametrize("name", ["tutorial", "default"])
def test_a_built_in_recipe_learns_what_can_be_learned(name: str) -> None:
    rounds = {"tutorial": 15, "default": 3}[name]
    tables = load_recipe(name).model_dump()
    tables["federation"]["rounds"] = rounds
    recipe = Recipe.parse(tables, "here")
    text = recipe.text
    words = np.random.default_rng(0).integers(10, 300, (160, text.width))
    words[:, text.tokens :] = words[:, : text.tokens - 8] = 0
    labels = np.arange(160) % 2
    words[labels == 1, text.tokens - 2] = 5
    state = initial_state(recipe, 0)
    for round_index in range(rounds):
        state = train(state, words, labels, recipe, seed=round_index, round_index=round_index).state

    found = metrics_from(score(state, words, labels, recipe))
    assert found.roc_auc is not None
    assert found.roc_auc > 0.95


def test_scores_are_the_models_own_whatever_the_order_of_lengths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scorer, "AT_ONCE", 4)
    recipe = _recipe(WIDE, 4)
    tokens, labels = _rows(recipe, 11)
    state = initial_state(recipe, 1)
    model = SpamGRU(recipe).eval()
    vector_to_state(model, state)
    expected: Tensor = model(torch.from_numpy(tokens).long())

    np.testing.assert_allclose(
        logits(state, tokens, recipe), expected.detach().numpy(), rtol=0, atol=1e-6
    )
    assert score(state, tokens, labels, recipe).rows == 11


@pytest.mark.parametrize("rows_of_memory", [1, 7, 100])
def test_no_more_rows_are_scored_at_once_than_the_bound_on_memory_allows(
    monkeypatch: pytest.MonkeyPatch, rows_of_memory: int
) -> None:
    recipe = _recipe(NARROW)
    tokens, _ = _rows(recipe, 20)
    monkeypatch.setattr(scorer, "MAX_NUMBERS_A_BATCH", rows_of_memory * recipe.numbers_a_row)
    sizes, through = list[int](), scorer.Scorer._through

    def seen(
        self: scorer.Scorer, words: scorer.Ids, lengths: scorer.Ids, room: scorer._Room
    ) -> scorer.Floats:
        sizes.append(len(words))
        return through(self, words, lengths, room)

    monkeypatch.setattr(scorer.Scorer, "_through", seen)
    logits(initial_state(recipe, 1), tokens, recipe)
    assert sum(sizes) == 20
    assert max(sizes) == min(20, rows_of_memory)


def test_a_stop_is_asked_before_every_batch_and_ends_the_training() -> None:
    recipe = _recipe(NARROW, batch_size=10)
    tokens, labels = _rows(recipe, 100)
    state = initial_state(recipe, 1)
    kept, asked = state.copy(), itertools.count(1)

    with pytest.raises(TrainingStopped):
        train(state, tokens, labels, recipe, 0, should_stop=lambda: next(asked) == 4)
    assert next(asked) == 5
    assert np.array_equal(state, kept)


@pytest.mark.parametrize(("seconds", "calls"), [(-1.0, 9), (1e9, 1)])
def test_progress_is_told_no_more_often_than_asked_for_and_always_at_the_end(
    monkeypatch: pytest.MonkeyPatch, seconds: float, calls: int
) -> None:
    monkeypatch.setattr(local_training, "PROGRESS_SECONDS", seconds)
    recipe = _recipe(NARROW, batch_size=16, local_epochs=2)
    tokens, labels = _rows(recipe, 50)
    told: list[tuple[int, int, float]] = []
    result = train(
        initial_state(recipe, 1), tokens, labels, recipe, 0, lambda *call: told.append(call)
    )

    assert len(told) == calls
    assert told[-1] == (8, 8, result.loss)
    assert (result.rows, result.batches) == (50, 8)
    assert result.seconds > 0


def test_a_training_that_diverges_says_so() -> None:
    recipe = _recipe(NARROW)
    tokens, labels = _rows(recipe, 10)
    state = initial_state(recipe, 1)
    state[-1] = np.nan

    with pytest.raises(TrainingDiverged):
        train(state, tokens, labels, recipe, 0)


def test_rows_that_do_not_fit_the_recipe_are_refused() -> None:
    recipe = _recipe(NARROW)
    tokens, labels = _rows(recipe, 10)
    state = initial_state(recipe, 1)

    for wrong in ((tokens[:, :5], labels), (tokens[:4], labels), (tokens[:0], labels[:0])):
        with pytest.raises(ValueError, match="rows"):
            train(state, *wrong, recipe, 0)


def test_the_cosine_schedule_falls_from_the_learning_rate_to_nothing() -> None:
    constant = TrainingRecipe(learning_rate=0.4)
    cosine = TrainingRecipe(learning_rate=0.4, schedule="cosine")
    marks = (0.0, 0.5, 1.0, 1.2)

    assert [learning_rate_at(constant, mark) for mark in marks] == [0.4] * 4
    found = [learning_rate_at(cosine, mark) for mark in marks]
    assert found == pytest.approx([0.4, 0.2, 0.0, 0.0])


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["sgd", "adam"]),
    st.lists(st.lists(st.integers(1, 9), max_size=3), min_size=1, max_size=4),
    st.lists(st.tuples(st.floats(1e-4, 0.5), st.integers(0, 15)), min_size=1, max_size=12),
    st.integers(0, 2**31),
)
def test_dense_parameters_move_as_torchs_own_fused_optimiser_moves_them(
    name: str, shapes: list[list[int]], steps: list[tuple[float, int]], seed: int
) -> None:
    """To the bit, over drawn shapes, learning rates and sets of parameters without a gradient."""
    drawn = torch.Generator().manual_seed(seed)
    ours = [torch.nn.Parameter(torch.randn(shape, generator=drawn)) for shape in shapes]
    theirs = [torch.nn.Parameter(one.detach().clone()) for one in ours]
    recipe = TrainingRecipe.model_validate({"optimizer": name, "clip_norm": 0.0})
    optimizer = TouchedRowOptimizer(ours, [], recipe)
    reference: torch.optim.Optimizer = (
        torch.optim.SGD(theirs, lr=0.1, fused=True)
        if name == "sgd"
        else torch.optim.Adam(theirs, lr=0.1, betas=(0.9, 0.999), eps=1e-8, fused=True)
    )
    for learning_rate, without in steps:
        for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            if not without >> place & 1:
                one.grad = torch.randn(one.shape, generator=drawn)
                other.grad = one.grad.clone()
        optimizer.step([], learning_rate)
        reference.param_groups[0]["lr"] = learning_rate
        reference.step()
        reference.zero_grad(set_to_none=True)
        assert all(one.grad is None for one in ours)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 300),
    size=st.integers(1, 9),
    most=st.integers(1, 12),
    order=st.integers(0, 2**63 - 1),
)
def test_every_row_is_gone_through_before_any_is_again(
    rows: int, size: int, most: int, order: int
) -> None:
    training = TrainingRecipe(batch_size=size, max_batches=most, local_epochs=4)
    batches = -(-rows // size)
    steps = local_training._batches_a_round(training, rows)
    rounds_a_pass = -(-batches // steps)

    def dealt(index: int, own_order: int | None) -> list[list[int]]:
        epochs = local_training._epochs(training, rows, index, own_order, index)
        return [batch.tolist() for batch in itertools.islice(itertools.chain(*epochs), steps)]

    for number in range(2):
        rounds = [dealt(number * rounds_a_pass + index, order) for index in range(rounds_a_pass)]
        if 2 * steps > batches:  # a round goes through most of them: each has its own order
            assert rounds[0] == dealt(number * rounds_a_pass, None)
            continue
        one_pass = list(itertools.chain(*rounds))
        assert sorted(itertools.chain(*one_pass[:batches])) == list(range(rows))
        for one in rounds:
            assert len(one) == steps
            together = list(itertools.chain(*one))
            assert len(set(together)) == len(together)


def test_orders_differ_by_pass_and_by_seed_and_a_repeated_round_has_the_same_bits() -> None:
    recipe = _recipe(NARROW, max_batches=2, batch_size=3)
    tokens, labels = _rows(recipe, 40)
    state = initial_state(recipe, 1)

    def trained(round_index: int, order: int | None, seed: int = 5) -> bytes:
        result = train(state, tokens, labels, recipe, seed, round_index=round_index, order=order)
        return result.state.tobytes()

    assert trained(0, 1) == trained(0, 1)
    assert trained(0, 1) == trained(0, 1, seed=6)  # without dropout the order is all that counts
    assert len({trained(0, 1), trained(0, 2), trained(1, 1), trained(7, 1), trained(0, None)}) == 5
