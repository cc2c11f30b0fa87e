"""Optimisers that touch only the rows of an embedding table that a batch uses.

A table of 8,192 rows by 50 has 400,000 numbers, and a batch of 32 messages uses some 300 of its
rows; a dense step zeroes, clips and adds all of them. Here a batch's rows are gathered into a small
matrix, which gets the gradient, and are written back.

- SGD: the same result as a dense step, since a row without a gradient does not move. The norm for
  clipping is the same too: the missing rows would have added zeros.
- FedProx's term pulls every number back towards where the round began, so under SGD a row that has
  moved has a gradient until the round ends: it is gathered with the batch's rows from then on, and
  the result is again that of a dense step. (Li et al., Federated Optimization in Heterogeneous
  Networks, MLSys 2020.)
- Adam is lazy, like `torch.optim.SparseAdam`: rows that a batch does not use keep their moments
  and do not move, where dense Adam would decay the moments and move them on. It is another
  algorithm, and for rare words the better one. Bias correction counts the steps of the whole
  model. Everything but the tables gets the same step as `torch.optim.Adam`. FedProx pulls at the
  batch's rows alone there, or rare words would lose what they learned to moments made of the pull.

Dense parameters move by the kernels that `torch.optim` calls with `fused=True`, and without it: the
first optimiser of a process imports torch's compiler and sympy, which costs as much as torch
itself. A test holds both to the same bits.
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


def touch(table: Tensor, ids: Tensor, also: Tensor | None = None) -> tuple[Touched, Tensor]:
    """The rows of `table` (buckets, n) that `ids` names, and where in them each id stands.

    Args:
        also: further distinct rows to gather; None for none.
    """
    # marking is several times faster than the sorting of torch.unique
    place = torch.zeros(len(table), dtype=torch.int64)
    place[ids.reshape(-1)] = 1
    if also is not None:
        place[also] = 1
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
        self.inner: _DenseSGD | _DenseAdam
        if recipe.optimizer == "sgd":
            self.inner = _DenseSGD(self.dense)
        else:
            self.inner = _DenseAdam(self.dense)
            for table in tables:
                self.moments[id(table)] = (torch.zeros_like(table), torch.zeros_like(table))

    def step(self, touched: Iterable[Touched], learning_rate: float) -> None:
        """Moves parameters and rows along the gradients they hold, and drops the gradients."""
        touched = list(touched)
        self.steps += 1
        self._clip([one.grad for one in touched])
        with torch.no_grad():
            self.inner.step(learning_rate)
            for parameter in self.dense:
                parameter.grad = None
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


class _DenseSGD:
    """The step of `torch.optim.SGD`, without momentum."""

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        self._parameters = parameters

    def step(self, learning_rate: float) -> None:
        moved: list[Tensor] = [one for one in self._parameters if one.grad is not None]
        if not moved:
            return
        torch._fused_sgd_(
            moved,
            _gradients(moved),
            [],
            weight_decay=0.0,
            momentum=0.0,
            lr=learning_rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )


def _gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [one.grad for one in parameters if one.grad is not None]


class _DenseAdam:
    """The step of `torch.optim.Adam`; a parameter counts the steps in which it had a gradient."""

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        self._state = [
            (one, torch.zeros_like(one), torch.zeros_like(one), torch.zeros(()))
            for one in parameters
        ]

    def step(self, learning_rate: float) -> None:
        moved = [state for state in self._state if state[0].grad is not None]
        if not moved:
            return
        parameters, means, squares, steps = map(list, zip(*moved, strict=True))
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            parameters,
            _gradients(parameters),
            means,
            squares,
            [],
            steps,
            lr=learning_rate,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            weight_decay=0.0,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )
