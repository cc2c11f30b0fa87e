"""A malicious coordinator's side: a model made to be read, and what a node gives back for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from server.nodes.addresses import parse_node
from server.nodes.client import NodeClient, pack_state
from server.nodes.dial import dial
from server.rounds.plan import new_run_id
from shared.model.classifier import build_model, vector_to_state
from shared.model.recipe import Recipe
from shared.model.vectors import new_object_id
from shared.wire.commands import TrainCommand

BUCKETS = 3_900_000
"""As many as the default policy lets a model have: hardly two features share one."""


@dataclass(frozen=True)
class Training:
    """How much a training mixes. max_batches: 0 sets no limit. buckets: of spelling features."""

    batch_size: int
    max_batches: int
    buckets: int = BUCKETS

    def recipe(self) -> Recipe:
        """Plain SGD over the spelling features alone, and as little else as a recipe may have."""
        return Recipe.model_validate(
            {
                "text": {"tokens": 1, "buckets": 2, "ngrams": 4096, "ngram_buckets": self.buckets},
                "model": {"embedding": 1, "hidden": 1, "dropout": 0.0, "wide_scale": 1.0},
                "training": {
                    "optimizer": "sgd",
                    "learning_rate": 1.0,
                    "clip_norm": 0.0,
                    "batch_size": self.batch_size,
                    "local_epochs": 2,  # the second tells messages of one length apart
                    "max_batches": self.max_batches,
                },
            }
        )


async def moved(node: str, training: Training, seed: int) -> npt.NDArray[np.float32]:
    """How far each spelling feature's weight (buckets,) moved from 0 in one training.

    Args:
        node: its address as `--node` takes it.
        seed: of the training; the node mixes a secret of its own into it.

    Raises:
        PolicyRefused: the owner's policy does not allow such a training.
    """
    recipe = training.recipe()
    link = await dial(parse_node(node))
    try:
        client = NodeClient(link.greeting.id, link)
        sent, result = new_object_id(), new_object_id()
        start = np.zeros(recipe.parameters, np.float32)
        command = TrainCommand(
            state_id=sent,
            result_id=result,
            run=new_run_id(),
            recipe=recipe.to_json(),
            seed=seed,
            round=1,
            rounds=1,
        )
        await client.send_state(pack_state(start, None, sent))
        await client.train(command, lambda _: None)
        trained = await client.fetch_state(result, start)
    finally:
        await link.close()
    model = build_model(recipe)
    vector_to_state(model, trained)
    assert model.wide is not None
    return model.wide.weight.detach().numpy().reshape(-1).copy()
