"""FedProx: a term in local training that keeps an owner's model near the one of all owners.

    minimise  loss(w) + mu / 2 * |w - w_start|^2

w_start is the state that the round began with, so the term's gradient is mu * (w - w_start). It is
added to the loss's before clipping, as the gradient of the whole; the loss that is told is without
it, comparable between recipes.

Li et al., Federated Optimization in Heterogeneous Networks, MLSys 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from shared.model.recipe import TrainingRecipe
from worker_node.training.optimizers import Touched


class Proximal:
    """The pull towards where the parameters and tables stand now.

    Args:
        dense: parameters that take part in every step.
        tables: of embeddings, (buckets, n) each.
        recipe: says how strong; its proximal_mu is above 0.
    """

    def __init__(
        self, dense: Sequence[Tensor], tables: Sequence[Tensor], recipe: TrainingRecipe
    ) -> None:
        self._mu = recipe.proximal_mu
        self._dense = [(one, one.detach().clone()) for one in dense]
        self._tables = {id(table): table.clone() for table in tables}
        # under SGD a row that has moved is pulled at in every step; optimizers.py says why
        self._follows_moved_rows = recipe.optimizer == "sgd"
        self._moved: dict[int, Tensor] = {}

    def moved(self, table: Tensor) -> Tensor | None:
        """Rows of the table, beside a batch's own, that the next step pulls at; None for none."""
        return self._moved.get(id(table))

    def pull(self, touched: Sequence[Touched]) -> None:
        """Adds the term's gradient to those of the loss, of the next step."""
        with torch.no_grad():
            for one, start in self._dense:
                if one.grad is not None:
                    one.grad.add_(one - start, alpha=self._mu)
            for rows in touched:
                start = self._tables[id(rows.table)][rows.index]
                rows.grad.add_(rows.rows - start, alpha=self._mu)
                if self._follows_moved_rows:
                    self._moved[id(rows.table)] = rows.index
