"""Steps on touched rows beside torch's own optimisers, and by Kingma and Ba in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from shared.model.recipe import TrainingRecipe
from worker_node.training.optimizers import TouchedRowOptimizer, touch

RATE = 0.1


def training(**changes: Any) -> TrainingRecipe:
    return TrainingRecipe.model_validate({"optimizer": "sgd", "clip_norm": 0.0, **changes})


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def parameter(*shape: int, seed: int) -> torch.nn.Parameter:
    return torch.nn.Parameter(numbers(*shape, seed=seed))


def test_each_id_is_found_among_the_rows_that_were_gathered() -> None:
    table = numbers(9, 3)
    ids = torch.tensor([[5, 2], [2, 7]])
    touched, places = touch(table, ids)
    assert touched.index.tolist() == [2, 5, 7]
    assert places.tolist() == [[1, 0], [0, 2]]
    assert torch.equal(touched.rows[places], table[ids])
    assert touched.rows.requires_grad
    assert touched.rows.is_leaf
    assert touched.table is table
    more, places = touch(table, ids, torch.tensor([0, 5]))
    assert more.index.tolist() == [0, 2, 5, 7]
    assert torch.equal(more.rows[places], table[ids])


class Both:
    """One model twice: with touched rows, and with torch's own dense step."""

    def __init__(self, recipe: TrainingRecipe, unused: bool = False) -> None:
        self.dense = [parameter(4, seed=1), parameter(2, 3, seed=2)]
        self.table = numbers(6, 2, seed=3)
        if unused:  # a parameter that never has a gradient
            self.dense.append(parameter(2, seed=4))
        self.theirs = [torch.nn.Parameter(one.detach().clone()) for one in self.dense]
        self.their_table = torch.nn.Parameter(self.table.clone())
        self.ours = TouchedRowOptimizer(self.dense, [self.table], recipe)
        kind = torch.optim.SGD if recipe.optimizer == "sgd" else torch.optim.Adam
        self.torchs = kind([*self.theirs, self.their_table], lr=RATE)
        self.clip = recipe.clip_norm

    def step(self, ids: list[int], scale: float, rate: float = RATE) -> None:
        """The same loss of both: some numbers of all parameters and of the rows."""
        index = torch.tensor(ids)
        touched, places = touch(self.table, index)
        for own, rows, step in (
            (self.dense, touched.rows[places], self._our_step),
            (self.theirs, self.their_table[index], self._their_step),
        ):
            loss = (rows.pow(3).sum() + own[0].pow(2).sum() + own[1].exp().sum()) * scale
            torch.autograd.backward(loss)
            step(touched, rate)

    def _our_step(self, touched: Any, rate: float) -> None:
        self.ours.step([touched], rate)
        assert all(one.grad is None for one in self.dense)

    def _their_step(self, _: Any, rate: float) -> None:
        if self.clip:
            torch.nn.utils.clip_grad_norm_([*self.theirs, self.their_table], self.clip)
        for group in self.torchs.param_groups:
            group["lr"] = rate
        self.torchs.step()
        self.torchs.zero_grad()

    def agree(self) -> None:
        for one, other in zip(self.dense, self.theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
        torch.testing.assert_close(self.table, self.their_table.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("clip_norm", [0.0, 0.5, 1e6])
@pytest.mark.parametrize("unused", [False, True])
def test_sgd_is_torchs_own_on_dense_parameters_and_on_rows(clip_norm: float, unused: bool) -> None:
    both = Both(training(clip_norm=clip_norm), unused)
    for ids, scale, rate in (([0, 3, 3], 1.0, RATE), ([3, 5], 2.0, 0.01), ([1], 0.0, RATE)):
        both.step(ids, scale, rate)
        both.agree()


@pytest.mark.parametrize("clip_norm", [0.0, 0.5])
def test_adam_is_torchs_own_where_every_step_touches_every_row(clip_norm: float) -> None:
    both = Both(training(optimizer="adam", clip_norm=clip_norm), unused=True)
    for scale, rate in ((1.0, RATE), (3.0, RATE), (0.5, 0.01), (1.0, RATE)):
        both.step([0, 1, 2, 3, 4, 5], scale, rate)
        both.agree()


def test_adam_leaves_rows_alone_that_a_batch_does_not_use_and_counts_all_steps() -> None:
    """In numpy: the moments of a row move when it is touched, and t is the model's."""
    table = numbers(4, 2, seed=5)
    expected = table.numpy().astype(np.float64).copy()
    ours = TouchedRowOptimizer([], [table], training(optimizer="adam"))
    first, second = np.zeros((4, 2)), np.zeros((4, 2))
    for step, rows in enumerate(([0, 1], [1], [1, 2], [0, 2]), 1):
        touched, places = touch(table, torch.tensor(rows))
        torch.autograd.backward(touched.rows[places].pow(2).sum())
        gradient = 2 * expected[rows]
        first[rows] = 0.9 * first[rows] + 0.1 * gradient
        second[rows] = 0.999 * second[rows] + 0.001 * gradient**2
        mean, square = first[rows] / (1 - 0.9**step), second[rows] / (1 - 0.999**step)
        expected[rows] -= RATE * mean / (np.sqrt(square) + 1e-8)
        ours.step([touched], RATE)
        np.testing.assert_allclose(table.numpy(), expected, rtol=0, atol=2e-6)


def test_a_gradient_of_nothing_moves_nothing_and_is_not_divided_by() -> None:
    table = numbers(3, 2)
    before = table.clone()
    ours = TouchedRowOptimizer([parameter(2, seed=1)], [table], training(clip_norm=1.0))
    touched, places = touch(table, torch.tensor([0]))
    torch.autograd.backward((touched.rows[places] * 0).sum())
    ours.step([touched], RATE)
    assert torch.equal(table, before)


def test_the_root_of_a_small_square_is_kept_from_0_by_a_hundred_millionth() -> None:
    """A gradient as small as Adam's epsilon moves half as far as a large one."""
    for optimizer_of in ("rows", "dense"):
        dense = [parameter(1, seed=1)] if optimizer_of == "dense" else []
        table = numbers(1, 1)
        ours = TouchedRowOptimizer(dense, [table], training(optimizer="adam"))
        touched, places = touch(table, torch.tensor([0]))
        moving = dense[0] if dense else touched.rows[places]
        before = (dense[0] if dense else table).detach().clone()
        torch.autograd.backward((moving * 1e-8).sum())
        if touched.rows.grad is None:
            touched.rows.grad = torch.zeros_like(touched.rows)
        ours.step([touched], RATE)
        after = (dense[0] if dense else table).detach()
        assert float(before - after) == pytest.approx(RATE / 2, rel=1e-3)
