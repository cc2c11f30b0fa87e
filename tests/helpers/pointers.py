"""What the tests of pointer mode share: a recipe that pointers can train, workers, a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from scripts.local.nodes import LocalNode
from server.pointers import connect, disconnect
from server.pointers.client import PointerClient
from server.pointers.replay import ReplayedStep
from server.pointers.stepwise import stepwise_logits
from shared.model.classifier import build_model, state_to_vector
from shared.model.recipe import load_recipe
from shared.model.vectors import Vector
from shared.pysyft import sy

STEPWISE = """
[text]
tokens = 6
buckets = 512
[model]
embedding = 8
hidden = 6
dropout = 0.1
[training]
optimizer = "sgd"
learning_rate = 0.5
clip_norm = 0.5
batch_size = 16
[federation]
rounds = 2
"""


def write_recipe(folder: Path) -> str:
    path = folder / "stepwise.toml"
    path.write_text(STEPWISE, encoding="utf-8")
    return str(path)


@contextmanager
def worker(node: LocalNode, recipe: str, **options: Any) -> Iterator[PointerClient]:
    """A session with a node, for the time of a test."""
    opened = connect(node.flag, recipe=recipe, seed=5, **options)
    try:
        yield opened
    finally:
        disconnect(opened)


def rows_of(bob: Any, tag: str = "#train") -> tuple[Any, Any]:
    """Pointers to inputs and labels."""
    (inputs,), (labels,) = (bob.search([tag, part]) for part in ("#inputs", "#labels"))
    return inputs, labels


def train(
    recipe: str,
    rows: tuple[Any, Any],
    where: Any,
    replay: bool = False,
    dropout: float = 0.0,
) -> tuple[list[float], Vector]:
    """Losses and final state of two epochs, there or (None) here; the same code either way."""
    rules = load_recipe(recipe)
    torch.manual_seed(3)
    model: Any = build_model(rules)
    model.dropout.p = dropout
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)

    def step(inputs: Any, labels: Any) -> tuple[Any]:
        optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(stepwise_logits(model, inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        return (loss,)

    if where is None:
        inputs, labels = rows
        batches: Any = list(zip(inputs.split(16), labels.split(16), strict=True))
    else:
        dataset = sy.FederatedDataset([sy.BaseDataset(*rows)])
        batches = sy.FederatedDataLoader(dataset, batch_size=16)
    replayed = ReplayedStep(where, step) if replay else None
    losses = []
    for _ in range(2):
        for number, batch in enumerate(batches):
            if where is not None:
                model.send(where)
            if replayed is not None:
                (loss,) = replayed(batch, list(model.parameters()), kind=number == 8)
            else:
                (loss,) = step(*batch)
            losses.append((loss.get() if where is not None else loss).item())
            if where is not None:
                model.get()
    if replayed is not None:
        assert replayed.replays > len(losses) / 2
    return losses, np.array(state_to_vector(model))
