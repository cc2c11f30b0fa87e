"""Many batches of pointer training in one session: what they leave behind, on both sides."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from scripts.local.nodes import LocalNode
from server.pointers import connect, disconnect
from server.pointers.replay import ReplayedStep
from server.pointers.stepwise import stepwise_logits
from shared.model.classifier import build_model
from shared.model.recipe import load_recipe
from shared.pysyft import PointerTensor, sy

LOOKS = 10
"""How often the objects are counted."""


def soak(node: LocalNode, batches: int, replay: bool) -> Iterator[str]:
    """Lines of a table: objects and resident memory of client and node, as batches go by."""
    worker = connect(node.flag, seed=1)
    recipe = load_recipe("tutorial")
    model: Any = build_model(recipe)
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.training.learning_rate)
    (inputs,), (labels,) = (worker.search(["#train", part]) for part in ("#inputs", "#labels"))
    dataset = sy.FederatedDataset([sy.BaseDataset(inputs, labels)])
    loader = sy.FederatedDataLoader(dataset, batch_size=recipe.training.batch_size)

    def step(data: Any, target: Any) -> tuple[Any]:
        optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(stepwise_logits(model, data), target)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.training.clip_norm)
        optimizer.step()
        return (loss,)

    replayed = ReplayedStep(worker, step)
    yield "batches   node: objects   MB   here: pointers   objects   MB"
    done = 0
    while done < batches:
        for data, target in loader:
            model.send(worker)
            if replay:
                (loss,) = replayed((data, target), list(model.parameters()), data.shape)
            else:
                (loss,) = step(data, target)
            loss.get()
            model.get()
            done += 1
            if done % max(batches // LOOKS, 1) == 0:
                del data, target, loss
                yield _look(done, worker, node)
            if done == batches:
                break
    disconnect(worker)


def _look(done: int, worker: Any, node: LocalNode) -> str:
    gc.collect()
    everything = gc.get_objects()
    pointers = sum(type(one) is PointerTensor for one in everything)
    there = worker.objects_count_remote()
    return (
        f"{done:>7}   {there:>13}   {_resident(node.process.pid):.0f}   {pointers:>14}   "
        f"{len(everything):>7}   {_resident('self'):.0f}"
    )


def _resident(pid: int | str) -> float:
    """Resident memory of a process in MB (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1e3
    return float("nan")
