"""Optimisers that touch only the rows of an embedding table that a batch uses.

A table of 8,192 rows by 50 has 400,000 numbers, and a batch of 32 messages uses some 300 of its
rows; a dense step zeroes, clips and adds all of them. Here a batch's rows are gathered into a small
matrix, which gets the gradient, and are written back.

- SGD: the same result as a dense step, since a row without a gradient does not move. The norm for
  clipping is the same too: the missing rows would have added zeros.
- Adam is lazy, like `torch.optim.SparseAdam`: rows that a batch does not use keep their moments
  and do not move, where dense Adam would decay the moments and move them on. It is another
  algorithm, and for rare words the better one. Bias correction counts the steps of the whole
  model. Everything but the tables gets `torch.optim.Adam` itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.model.recipe import TrainingRecipe

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


@dataclass(frozen=True, eq=False)
class Touched:
    """The rows of a table that a batch uses.

    table: (buckets, n), no leaf of the graph; `step` writes into it.
    index: distinct rows (touched,).
    rows: a copy of them (touched, n), a leaf of the graph.
    """

    table: Tensor
    index: Tensor
    rows: Tensor

    @property
    def grad(self) -> Tensor:
        assert self.rows.grad is not None
        return self.rows.grad


def touch(table: Tensor, ids: Tensor) -> tuple[Touched, Tensor]:
    """The rows of `table` (buckets, n) that `ids` names, and where in them each id stands."""
    # marking is several times faster than the sorting of torch.unique
    place = torch.zeros(len(table), dtype=torch.int64)
    place[ids.reshape(-1)] = 1
    index = place.nonzero().squeeze(1)
    place[index] = torch.arange(len(index))
    return Touched(table, index, table[index].requires_grad_()), place[ids]


class TouchedRowOptimizer:
    """A step of the recipe's optimiser on dense parameters and touched rows.

    Args:
        dense: parameters that take part in every step.
        tables: every table that may be touched, by which the moments of Adam are kept.
        recipe: says which optimiser, and the clipping.
    """

    def __init__(
        self, dense: Iterable[torch.nn.Parameter], tables: Iterable[Tensor], recipe: TrainingRecipe
    ) -> None:
        self.dense = list(dense)
        self.clip_norm = recipe.clip_norm
        self.steps = 0
        self.moments: dict[int, tuple[Tensor, Tensor]] = {}
        self.inner: torch.optim.Optimizer
        if recipe.optimizer == "sgd":
            self.inner = torch.optim.SGD(self.dense, lr=recipe.learning_rate, fused=True)
        else:
            self.inner = torch.optim.Adam(
                self.dense, lr=recipe.learning_rate, betas=_BETAS, eps=_EPSILON, fused=True
            )
            for table in tables:
                self.moments[id(table)] = (torch.zeros_like(table), torch.zeros_like(table))

    def step(self, touched: Iterable[Touched], learning_rate: float) -> None:
        """Moves parameters and rows along the gradients they hold, and drops the gradients."""
        touched = list(touched)
        self.steps += 1
        self._clip([one.grad for one in touched])
        self.inner.param_groups[0]["lr"] = learning_rate
        self.inner.step()
        self.inner.zero_grad(set_to_none=True)
        with torch.no_grad():
            for one in touched:
                self._move(one, learning_rate)

    def _clip(self, row_grads: list[Tensor]) -> None:
        if not self.clip_norm:
            return
        grads = [p.grad for p in self.dense if p.grad is not None] + row_grads
        norm = torch.nn.utils.get_total_norm(grads)
        # the sum keeps a norm of zero from dividing by zero, as torch's own clipping does
        factor = self.clip_norm / (float(norm) + 1e-6)
        if factor < 1:
            for grad in grads:
                grad *= factor

    def _move(self, one: Touched, learning_rate: float) -> None:
        moments = self.moments.get(id(one.table))
        if moments is None:
            moved = one.rows.sub_(one.grad, alpha=learning_rate)
        else:
            moved = self._adam(one, *moments, learning_rate)
        one.table.index_copy_(0, one.index, moved)

    def _adam(self, one: Touched, first: Tensor, second: Tensor, learning_rate: float) -> Tensor:
        """Kingma and Ba, Adam, 2015, algorithm 1, on the touched rows."""
        mean = first[one.index].lerp_(one.grad, 1 - _BETAS[0])
        square = second[one.index].mul_(_BETAS[1])
        square.addcmul_(one.grad, one.grad, value=1 - _BETAS[1])
        first.index_copy_(0, one.index, mean)
        second.index_copy_(0, one.index, square)
        size = learning_rate / (1 - _BETAS[0] ** self.steps)
        root = square.div_(1 - _BETAS[1] ** self.steps).sqrt_().add_(_EPSILON)
        return one.rows.addcdiv_(mean, root, value=-size)
