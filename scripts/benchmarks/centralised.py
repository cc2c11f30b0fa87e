"""What federated training is compared with: the same recipe on all messages in one place.

    python scripts/benchmarks/centralised.py --data a.tsv --data b.tsv --held-out-data test.tsv

Plain PyTorch as a tutorial would write it (`nn.Embedding`, `nn.GRU`, `torch.optim.SGD`), on one
thread, with nothing of fedsms in its training but the ids of the words. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click
import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, not as a module

from shared.cli import run
from shared.errors import UsageError
from shared.model.many_texts import encode_all
from shared.model.metrics import Metrics, metrics_from, summarise
from shared.model.recipe import Recipe, load_recipe
from worker_node.data.shard import Message, read_messages


class PlainGRU(nn.Module):
    """Embedding, GRU, dropout, linear."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        model = recipe.model
        self.embedding = nn.Embedding(recipe.text.buckets, model.embedding)
        self.gru = nn.GRU(model.embedding, model.hidden, batch_first=True)
        self.dropout = nn.Dropout(model.dropout)
        self.output = nn.Linear(model.hidden, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states, _ = self.gru(self.embedding(ids))  # (batch, time, hidden)
        logits: torch.Tensor = self.output(self.dropout(states[:, -1])).squeeze(1)
        return logits  # (batch,)


def train(
    recipe: Recipe, ids: torch.Tensor, labels: torch.Tensor, seed: int
) -> tuple[PlainGRU, float]:
    """A trained model, and the seconds that its epochs took.

    Args:
        ids: (rows, tokens) int64. labels: (rows,) float32.
    """
    torch.manual_seed(seed)
    training = recipe.training
    model = PlainGRU(recipe).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=training.learning_rate)
    loss_of = nn.BCEWithLogitsLoss()
    started = time.perf_counter()
    for _ in range(recipe.federation.rounds * training.local_epochs):
        order = torch.randperm(len(ids))
        for start in range(0, len(ids), training.batch_size):
            rows = order[start : start + training.batch_size]
            optimizer.zero_grad()
            loss = loss_of(model(ids[rows]), labels[rows])
            loss.backward()
            if training.clip_norm:
                clip_grad_norm_(model.parameters(), training.clip_norm)
            optimizer.step()
    return model.eval(), time.perf_counter() - started


def evaluate(model: PlainGRU, ids: torch.Tensor, labels: torch.Tensor) -> Metrics:
    with torch.inference_mode():
        logits = model(ids).numpy()
    return metrics_from(summarise(logits, labels.numpy()))


def tensors(messages: list[Message], recipe: Recipe) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (rows, tokens) int64 and labels (rows,) float32."""
    ids = encode_all([message.text for message in messages], recipe.text).astype(np.int64)
    labels = np.array([message.label for message in messages], dtype=np.float32)
    return torch.from_numpy(ids), torch.from_numpy(labels)


def check_plain(recipe: Recipe) -> None:
    """Raises UsageError for a recipe with parts that this comparison does not have."""
    model, training = recipe.model, recipe.training
    plain = (model.directions, model.pooling, model.skip_padding, model.embedding_dropout)
    steps = (training.optimizer, training.schedule, training.max_batches)
    if (*plain, *steps) != (1, "last", False, 0.0, "sgd", "constant", 0) or recipe.text.ngrams:
        raise UsageError("the centralised comparison only knows recipes like the tutorial's")


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python"))
@click.option("--data", multiple=True, required=True, type=click.Path(path_type=Path))
@click.option("--held-out-data", multiple=True, required=True, type=click.Path(path_type=Path))
@click.option("--recipe", "recipe_name", default="tutorial", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
def main(
    data: tuple[Path, ...], held_out_data: tuple[Path, ...], recipe_name: str, seed: int
) -> None:
    torch.set_num_threads(1)
    recipe = load_recipe(recipe_name)
    check_plain(recipe)
    rows = [message for path in data for message in read_messages(path).messages]
    held_out = [message for path in held_out_data for message in read_messages(path).messages]
    model, seconds = train(recipe, *tensors(rows, recipe), seed)
    metrics = evaluate(model, *tensors(held_out, recipe))
    click.echo(json.dumps({"rows": len(rows), "seconds": seconds, **metrics.as_dict()}))


if __name__ == "__main__":
    run(main, "python scripts/benchmarks/centralised.py")
