"""The linear classifier of private runs: a weight a feature, of rows that all have length 1.

A row's features count by their block (shared/model/blocks.py), and all are divided by the row's
length. So a message's gradient is as long as its probability is wrong, 1 at most: clipping it is
one multiplication, and no message moves a weight further because it is long.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared.model.linear_scorer import place_weights
from shared.model.recipe import Recipe


class BlockLinear(nn.Module):
    """A private recipe's model, all of whose weights are 0 at first."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.tokens = recipe.text.tokens
        self.bias = recipe.model.bias
        self.weights = nn.Parameter(torch.zeros(recipe.text.ngram_buckets))
        self._places = torch.from_numpy(place_weights(recipe)).float()

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (batch,) of rows of ids (batch, width) int64; P(spam) is their sigmoid."""
        features = ids[:, self.tokens :]
        values = self._places * (features != 0)
        length = values.square().sum(dim=1).sqrt().clamp(min=1e-9)
        logits: Tensor = (self.weights[features] * values).sum(dim=1) / length + self.bias
        return logits
