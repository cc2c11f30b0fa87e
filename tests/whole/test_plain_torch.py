"""A run over sockets ends where plain torch ends that was told what federated averaging is.

Nothing of training, schedule, averaging or seeds here is the product's: whole batches without
dropout depend on no order, so that no seed matters. The forward pass is the classifier's, which has
tests of its own against torch.nn.GRU.
"""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
import torch

from scripts.local.nodes import LocalNode
from shared.model.classifier import SpamGRU, initial_state, state_to_vector, vector_to_state
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from tests.conftest import OwnerFiles
from tests.helpers.federating import Watcher, trained

ROUNDS, EPOCHS, RATE = 3, 2, {"sgd": 0.5, "adam": 0.02}

pytestmark = pytest.mark.timeout(180)


def recipe_of(optimizer: str, schedule: str = "cosine") -> Recipe:
    return Recipe.model_validate(
        {
            "text": {"tokens": 12, "buckets": 512, "ngrams": 6, "ngram_buckets": 64},
            "model": {
                "embedding": 8,
                "hidden": 6,
                "directions": 2,
                "pooling": "max-mean",
                "skip_padding": True,
                "dropout": 0.0,
            },
            "training": {
                "optimizer": optimizer,
                "learning_rate": RATE[optimizer],
                "schedule": schedule,
                "clip_norm": 0.2,
                "batch_size": 4096,
                "local_epochs": EPOCHS,
            },
            "federation": {"rounds": ROUNDS},
        }
    )


def rate_at(recipe: Recipe, step: int) -> float:
    """Half a cosine over all steps of the run, which begins at the learning rate and ends at 0."""
    rate = recipe.training.learning_rate
    if recipe.training.schedule == "constant":
        return rate
    return rate * (math.cos(math.pi * step / (ROUNDS * EPOCHS)) + 1) / 2


def locally(state: Vector, owner: OwnerFiles, recipe: Recipe, first_step: int) -> Vector:
    """One owner's round: steps on all of its rows with an optimiser of torch's, begun afresh."""
    model = SpamGRU(recipe)
    vector_to_state(model, state)
    ids = torch.from_numpy(encode_all([one.text for one in owner.train], recipe.text)).long()
    labels = torch.tensor([float(one.label) for one in owner.train])
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[recipe.training.optimizer]
    optimizer = kind(model.parameters(), lr=0.0)
    for step in range(first_step, first_step + EPOCHS):
        optimizer.param_groups[0]["lr"] = rate_at(recipe, step)
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(ids), labels)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.training.clip_norm)
        optimizer.step()
    return state_to_vector(model)


def federated(owners: list[OwnerFiles], recipe: Recipe, *, forgets_rounds: bool = False) -> Vector:
    """The whole run. forgets_rounds: each round is trained as if it were the first."""
    state = initial_state(recipe, 1)
    rows = np.array([len(owner.train) for owner in owners], np.float64)
    for number in range(ROUNDS):
        first = 0 if forgets_rounds else number * EPOCHS
        ends = np.stack([locally(state, owner, recipe, first) for owner in owners])
        state = (rows @ ends.astype(np.float64) / rows.sum()).astype(np.float32)
    return state


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_run_with_a_schedule_ends_where_plain_torch_ends(
    optimizer: str, nodes: list[LocalNode], owners: list[OwnerFiles]
) -> None:
    recipe = recipe_of(optimizer)
    urls = {node.id: node.url for node in nodes}
    found = asyncio.run(trained(urls, recipe, Watcher()))
    expected = federated(owners, recipe)
    begin = initial_state(recipe, 1)
    moved = float(np.linalg.norm(expected - begin))
    assert moved > 0.2
    assert float(np.linalg.norm(found - expected)) < 1e-3 * moved
    # what would be taken for right if the bound were loose
    for wrong in (
        federated(owners, recipe, forgets_rounds=True),
        federated(owners, recipe_of(optimizer, "constant")),
        federated(owners[:1], recipe),
    ):
        assert float(np.linalg.norm(wrong - expected)) > 0.05 * moved
