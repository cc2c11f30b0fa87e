"""One contender of `benchmark.py pointers`: some batches of the article's training, each timed.

    python scripts/benchmarks/pointer_batches.py --how virtual --data bob.train.tsv
    python scripts/benchmarks/pointer_batches.py --how node --node bob=ws://127.0.0.1:8777

Prints one JSON object: seconds, messages and bytes of each batch, and the losses, by which
contenders prove that they computed the same. Dropout is off, since each would draw its own.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, not as a module

from shared.cli import run
from shared.model.recipe import load_recipe

WARM_UP = 3
"""First batches, which are not told: what is looked up once is not what a batch costs."""
START_SECONDS = 60.0

Traffic = Callable[[], tuple[int, int]]
"""Messages and bytes so far, both ways together."""


def rows(data: str) -> tuple[Any, Any]:
    """The owner's training rows as a node makes them: inputs (rows, tokens), labels (rows,)."""
    from worker_node.data.messages import read_messages
    from worker_node.data.shard import Shard
    from worker_node.pointers.rows import tagged_tensors

    shard = Shard(read_messages(Path(data)).messages)
    inputs, labels, *_ = tagged_tensors(shard, load_recipe("tutorial").text)
    return inputs.tensor, labels.tensor


@contextmanager
def virtual(data: str) -> Iterator[tuple[Any, Any, Traffic]]:
    """PySyft's VirtualWorker: everything in this process."""
    from shared.pysyft import VirtualWorker, make_hook

    counted = [0, 0]

    class Counting(VirtualWorker):
        def _recv_msg(self, message: bytes) -> bytes:
            answer: bytes = super()._recv_msg(message)
            counted[0] += 1
            counted[1] += len(message) + len(answer)
            return answer

    bob = Counting(make_hook(), id="bob")
    inputs, labels = (tensor.send(bob) for tensor in rows(data))
    yield inputs, labels, lambda: (counted[0], counted[1])


class _CountingSocket:
    """The stock client's socket, with what goes through it counted."""

    def __init__(self, ws: Any) -> None:
        self._ws = ws
        self.messages = 0
        self.bytes = 0

    def send(self, data: str) -> None:
        self.messages += 1
        self.bytes += len(data)
        self._ws.send(data)

    def recv(self) -> Any:
        data = self._ws.recv()
        self.bytes += len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ws, name)


def _serve_stock(port: int) -> None:
    import torch

    from shared.pysyft import WebsocketServerWorker, make_hook

    torch.set_num_threads(1)
    server: Any = WebsocketServerWorker(make_hook(), "127.0.0.1", port, id="bob")
    server.start()


@contextmanager
def stock(data: str) -> Iterator[tuple[Any, Any, Traffic]]:
    """PySyft's own client and server classes, unmodified, over a socket of this machine."""
    from shared.pysyft import WebsocketClientWorker, make_hook

    hook = make_hook()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = multiprocessing.get_context("spawn").Process(target=_serve_stock, args=(port,))
    process.start()
    try:
        _wait_for(port)
        bob = WebsocketClientWorker(hook, "127.0.0.1", port, id="bob", is_client_worker=True)
        counting = bob.ws = _CountingSocket(bob.ws)
        inputs, labels = (tensor.send(bob) for tensor in rows(data))
        yield inputs, labels, lambda: (counting.messages, counting.bytes)
    finally:
        process.terminate()
        process.join()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError("PySyft's server did not start")


@contextmanager
def node(address: str, pipeline: bool) -> Iterator[tuple[Any, Any, Traffic]]:
    """A node of ours."""
    from server.pointers import connect, disconnect

    bob = connect(address, seed=1, pipeline=pipeline)
    (inputs,) = bob.search(["#train", "#inputs"])
    (labels,) = bob.search(["#train", "#labels"])
    link, stream = bob.link, bob.stream
    yield inputs, labels, lambda: (stream.messages, link.bytes_sent + link.bytes_received)
    disconnect(bob)


def train(inputs: Any, labels: Any, traffic: Traffic, batches: int, replay: bool) -> dict[str, Any]:
    """The article's loop; the same code whatever the worker is."""
    import torch
    from torch.nn import functional

    from server.pointers.replay import ReplayedStep
    from server.pointers.stepwise import stepwise_logits
    from shared.model.classifier import build_model
    from shared.pysyft import sy

    recipe = load_recipe("tutorial")
    torch.manual_seed(1)
    model: Any = build_model(recipe)
    model.dropout.p = 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.training.learning_rate)
    dataset = sy.FederatedDataset([sy.BaseDataset(inputs, labels)])
    loader = sy.FederatedDataLoader(dataset, batch_size=recipe.training.batch_size)

    def step(data: Any, target: Any) -> tuple[Any]:
        optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(stepwise_logits(model, data), target)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.training.clip_norm)
        optimizer.step()
        return (loss,)

    replayed = ReplayedStep(inputs.location, step) if replay else None
    told: dict[str, list[Any]] = {"seconds": [], "messages": [], "bytes": [], "losses": []}
    started, before = time.perf_counter(), traffic()
    for data, target in loader:
        model.send(data.location)
        (loss,) = (
            replayed((data, target), list(model.parameters())) if replayed else step(data, target)
        )
        told["losses"].append(loss.get().item())
        model.get()
        now, after = time.perf_counter(), traffic()
        told["seconds"].append(now - started)
        told["messages"].append(after[0] - before[0])
        told["bytes"].append(after[1] - before[1])
        started, before = now, after
        if len(told["losses"]) == batches + WARM_UP:
            break
    return {name: values[WARM_UP:] for name, values in told.items()}


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python"))
@click.option("--how", type=click.Choice(["virtual", "stock", "waiting", "node", "replay"]))
@click.option("--data", default="", help="Rows for virtual and stock.")
@click.option("--node", "address", default="", help="The node for the others.")
@click.option("--batches", type=click.IntRange(1), default=20, show_default=True)
def main(how: str, data: str, address: str, batches: int) -> None:
    import torch

    torch.set_num_threads(1)
    if how in ("virtual", "stock"):
        contender = virtual(data) if how == "virtual" else stock(data)
    else:
        contender = node(address, pipeline=how != "waiting")
    with contender as (inputs, labels, traffic):
        told = train(inputs, labels, traffic, batches, how == "replay")
    click.echo(json.dumps(told))


if __name__ == "__main__":
    run(main, "python scripts/benchmarks/pointer_batches.py")
