"""The classifier in operations that pointers have: the article's way through a hand-made GRU cell.

The same weights as shared/model/classifier.py and the same numbers to rounding, with nothing asked
of a tensor on the way (no size, no truth value), so that no operation has to be waited for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from shared.errors import UsageError
from shared.model.classifier import SpamGRU
from shared.model.recipe import Recipe


def check_stepwise(recipe: Recipe) -> None:
    """Raises UsageError for a recipe with parts that training through pointers does not have."""
    model, training = recipe.model, recipe.training
    wanted = {
        "model.directions = 1": model.directions == 1,
        'model.pooling = "last"': model.pooling == "last",
        "model.skip_padding = false": not model.skip_padding,
        'model.kind = "gru"': model.kind == "gru",
        "text.ngrams = 0": not recipe.text.ngrams,
        'training.optimizer = "sgd"': training.optimizer == "sgd",
        'training.schedule = "constant"': training.schedule == "constant",
        "training.max_batches = 0": not training.max_batches,
        "training.proximal_mu = 0": not training.proximal_mu,
        'federation.aggregation = "fedavg"': recipe.federation.aggregation == "fedavg",
        'federation.server_optimizer = "none"': recipe.federation.server_optimizer == "none",
    }
    missing = [rule for rule, met in wanted.items() if not met]
    if missing:
        raise UsageError(
            "this recipe cannot be trained through pointers",
            f"that takes {', '.join(missing)}",
            "Use --recipe tutorial, or train in rounds.",
        )


def stepwise_logits(model: SpamGRU, ids: Tensor) -> Tensor:
    """Logits (batch,) of rows of ids (batch, tokens) int64; all of it may be elsewhere."""
    sequence: Any = model.embedding(ids)  # (batch, tokens, embedding)
    if model.embedding_dropout.p:
        sequence = model.embedding_dropout(sequence)
    projected = model.gru.input_gates(sequence)  # (batch, tokens, 3 hidden)
    state = torch.zeros_like(projected[:, 0, : model.gru.hidden])
    for step in range(model.tokens):
        state = model.gru(projected[:, step], state)
    if model.dropout.p:
        state = model.dropout(state)
    logits: Tensor = model.output(state).squeeze(1)
    return logits
