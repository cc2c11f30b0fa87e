"""PySyft's pointers against a real node: its API, what leaves the node, errors, equal numbers."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scripts.local.nodes import LocalNode, local_nodes, start_node, wait_until_ready
from server.pointers import connect
from server.pointers.client import PointerClient
from shared.errors import NodeFailed, NodeUnreachable
from shared.model.recipe import load_recipe
from shared.pysyft import PointerTensor, remote_tensor, sy
from tests.conftest import OwnerFiles
from tests.helpers.pointers import rows_of, train, worker, write_recipe
from tests.helpers.running import until
from worker_node.data.shard import Shard
from worker_node.guarding.guard import Guard
from worker_node.guarding.policy import Policy
from worker_node.node import DataOwnerNode
from worker_node.pointers.rows import tagged_tensors
from worker_node.pointers.session_process import fork_server_pid
from worker_node.serving.listener import listening
from worker_node.training.trainer_process import TrainerProcess

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_recipe(tmp_path_factory.mktemp("pointers"))


@pytest.fixture(scope="module")
def open_nodes(owners: list[OwnerFiles]) -> Iterator[list[LocalNode]]:
    """Two nodes whose owners allow pointers."""
    flags = {owner.id: (*owner.flags, "--allow", "pointers") for owner in owners}
    with local_nodes(flags) as running:
        yield running


@pytest.fixture(name="bob")
def a_session_with_bob(open_nodes: list[LocalNode], recipe: str) -> Iterator[PointerClient]:
    with worker(open_nodes[1], recipe) as session:
        yield session


# PySyft's API


def test_tensors_go_compute_and_come_back(bob: PointerClient) -> None:
    x: Any = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).send(bob)  # type: ignore[attr-defined]
    assert x.location is bob
    assert x.shape == (2, 2)
    assert (x + x * 2 - 1).get().tolist() == [[2, 5], [8, 11]]
    assert (1 / x)[0].get().tolist() == [1, 0.5]
    stacked: Any = torch.stack([x, -x])
    assert stacked.sum(dim=0).get().tolist() == [[0, 0], [0, 0]]
    del stacked
    assert (x > 2.5).float().mean().get().item() == 0.5
    x += 1
    assert x.copy().get().tolist() == [[2, 3], [4, 5]]
    assert [part.get().tolist() for part in x.chunk(2)] == [[[2, 3]], [[4, 5]]]
    assert x.max().get().item() == 5
    assert bob.list_objects_remote().count(x.id_at_location) == 1
    assert x.get().tolist() == [[2, 3], [4, 5]]
    assert bob.objects_count_remote() == 4  # the owner's own


def test_gradients_of_remote_tensors_are_remote(bob: PointerClient) -> None:
    x: Any = torch.tensor([1.0, 2.0], requires_grad=True).send(bob)  # type: ignore[attr-defined]
    (x * x).sum().backward()
    assert x.grad.copy().get().tolist() == [2, 4]


def test_a_dataset_that_is_sent_is_loaded_in_batches(bob: PointerClient) -> None:
    numbers, labels = torch.arange(10.0).reshape(5, 2), torch.arange(5.0)
    dataset = sy.BaseDataset(numbers, labels).send(bob)
    assert len(dataset) == 5
    federated = sy.FederatedDataset([dataset])
    assert len(federated) == 5
    batches = list(sy.FederatedDataLoader(federated, batch_size=2))
    assert [data.get().tolist() for data, _ in batches][-1] == [[8, 9]]
    assert torch.cat([target.get() for _, target in batches]).tolist() == [0, 1, 2, 3, 4]
    del dataset, federated, batches
    gc.collect()  # a loader and its iterators know one another
    assert bob.objects_count_remote() == 4  # the owner's own


def test_a_dataset_is_dealt_out_to_nodes(open_nodes: list[LocalNode], recipe: str) -> None:
    with worker(open_nodes[0], recipe) as anne, worker(open_nodes[1], recipe) as bob:
        rows = torch.utils.data.TensorDataset(torch.arange(8.0), torch.arange(8.0))
        federated: Any = rows.federate((bob, anne))  # type: ignore[attr-defined]
        seen = {
            (str(data.location.id), *data.get().tolist())
            for data, _ in sy.FederatedDataLoader(federated, batch_size=2)
        }
        assert seen == {("bob", 0, 1), ("bob", 2, 3), ("anne", 4, 5), ("anne", 6, 7)}


def test_the_owners_rows_are_found_by_tag(bob: PointerClient) -> None:
    assert {tensor.shape for tensor in bob.search("#train")} == {(140, 6), (140,)}
    inputs, labels = rows_of(bob, "#test")
    assert (inputs.shape, labels.shape) == ((50, 6), (50,))
    assert bob.search("#nothing") == []
    assert 0 < labels.mean().get().item() < 1


def test_pointers_to_two_nodes_do_not_mix(open_nodes: list[LocalNode], recipe: str) -> None:
    with worker(open_nodes[0], recipe) as anne, worker(open_nodes[1], recipe) as bob:
        x: Any = torch.ones(2).send(anne)  # type: ignore[attr-defined]
        y: Any = torch.ones(2).send(bob)  # type: ignore[attr-defined]
        with pytest.raises(sy.exceptions.TensorsNotCollocatedException):
            x + y


# Errors that come late


def test_a_late_error_names_the_operation_and_the_line(bob: PointerClient) -> None:
    x: Any = torch.ones(2, 3).send(bob)  # type: ignore[attr-defined]
    wrong = x @ x  # the line in question
    after = wrong + 1
    with pytest.raises(NodeFailed) as failed:
        after.get()
    said = str(failed.value)
    assert "__matmul__" in said
    assert f"{__file__}:" in said
    assert test_a_late_error_names_the_operation_and_the_line.__name__ in said
    line = int(said.partition(f"{__file__}:")[2].split()[0])
    assert "the line in question" in Path(__file__).read_text().splitlines()[line - 1]
    assert (x + x).sum().get().item() == 12  # and the session goes on


def test_an_error_tells_no_rows(bob: PointerClient) -> None:
    inputs, _ = rows_of(bob)
    table: Any = torch.zeros(2, 2).send(bob)  # type: ignore[attr-defined]
    with pytest.raises(NodeFailed) as failed:
        bob.fetch([torch.gather(table, 0, inputs[:2, :2]).sum().id_at_location])  # type: ignore[attr-defined]
    assert "why is not told" in failed.value.cause
    assert "gather" in failed.value.fact


def test_after_an_error_a_model_is_sent_whole_again(bob: PointerClient) -> None:
    layer: Any = torch.nn.Linear(64, 64)
    before = layer.weight.detach().clone()
    for _ in range(2):
        layer.send(bob)
        x: Any = torch.ones(2, 3).send(bob)  # type: ignore[attr-defined]
        x @ x
        with pytest.raises(NodeFailed, match="__matmul__"):
            layer.get()
        bob.wait()
        layer.get()
    assert torch.equal(layer.weight, before)


def test_a_long_chain_without_an_answer_is_done_all_the_same(
    bob: PointerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.pointers.exchange.MAX_UNANSWERED", 100)
    x: Any = torch.zeros(1).send(bob)  # type: ignore[attr-defined]
    for _ in range(1000):
        x = x + 1
    assert bob.stream.unanswered <= 100
    assert x.get().item() == 1000


# Equal numbers


def local_rows(owner: OwnerFiles, recipe: str) -> tuple[Any, Any]:
    shard = Shard(tuple(owner.train))
    inputs, labels, *_ = tagged_tensors(shard, load_recipe(recipe).text)
    return inputs.tensor, labels.tensor


def test_training_there_equals_training_here_to_the_last_bit(
    open_nodes: list[LocalNode], owners: list[OwnerFiles], recipe: str
) -> None:
    losses, state = train(recipe, local_rows(owners[1], recipe), None)
    ways: list[dict[str, Any]] = [{}, {"pipeline": False}, {"replay": True}]
    for way in ways:
        with worker(open_nodes[1], recipe, pipeline=way.get("pipeline", True)) as bob:
            there = train(recipe, rows_of(bob), bob, way.get("replay", False))
        assert there[0] == losses
        assert np.array_equal(there[1], state)
    assert np.mean(losses[-9:]) < np.mean(losses[:9])


def test_dropout_is_drawn_alike_whether_pipelined_or_replayed(
    open_nodes: list[LocalNode], recipe: str
) -> None:
    found = []
    for pipeline, replay in ((True, False), (False, False), (True, True)):
        with worker(open_nodes[1], recipe, pipeline=pipeline) as bob:
            found.append(train(recipe, rows_of(bob), bob, replay, dropout=0.3)[0])
    assert found[0] == found[1] == found[2]


# Nothing is left behind


def test_objects_are_as_many_after_many_batches_as_after_few(
    open_nodes: list[LocalNode], recipe: str
) -> None:
    with worker(open_nodes[1], recipe) as bob:
        counts = []
        for _ in range(3):
            train(recipe, rows_of(bob), bob)
            gc.collect()
            here = sum(type(one) is PointerTensor for one in gc.get_objects())
            counts.append((bob.objects_count_remote(), here, len(bob.alive)))
    assert counts[0] == counts[1] == counts[2]
    assert counts[0][0] == 4


def processes_of_sessions() -> list[int]:
    """Of the nodes in this process: what their fork server has made, and not yet reaped."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = status.read_text(encoding="utf-8").splitlines()
            parents = [int(line.split()[1]) for line in lines if line.startswith("PPid:")]
        except OSError:  # it ended meanwhile
            continue
        if parents == [fork_server_pid()]:
            found.append(int(status.parent.name))
    return found


def test_a_session_that_is_cut_off_leaves_nothing_on_the_node(
    owners: list[OwnerFiles], recipe: str
) -> None:
    shard = Shard(tuple(owners[1].train), tuple(owners[1].held_out))

    def work(url: str) -> None:
        bob = connect(f"bob={url}", recipe=recipe)
        inputs, _ = rows_of(bob)
        kept = [inputs.float() * 2 for _ in range(20)]
        bob.wait()
        assert processes_of_sessions()
        bob.link._connection.transport.abort()
        with pytest.raises(NodeUnreachable, match="lost the connection"):
            kept[0].sum().get()
        bob.leave()

    async def scene() -> None:
        allowed = Policy(modes=("pointers",))
        node = DataOwnerNode("bob", shard, TrainerProcess(shard), guard=Guard(allowed))
        async with listening(node, "127.0.0.1", 0) as url:
            await asyncio.to_thread(work, url)

            def ended() -> bool:
                return not processes_of_sessions()

            await asyncio.to_thread(until, ended, "the process of the session to end")

    asyncio.run(scene())


def count_up(x: Any) -> Any:
    for _ in range(10_000):
        x = x + 1
    return x.get()


def test_a_node_that_dies_in_a_batch_is_a_lost_connection(
    owners: list[OwnerFiles], recipe: str
) -> None:
    node = start_node("bob", (*owners[1].flags, "--allow", "pointers"))
    try:
        wait_until_ready(node)
        bob = connect(node.flag, recipe=recipe)
        x: Any = torch.ones(2).send(bob)  # type: ignore[attr-defined]
        bob.wait()
        node.process.kill()
        with pytest.raises(NodeUnreachable, match="node bob"):
            count_up(x)
        bob.leave()
    finally:
        node.stop()


def test_a_pointer_that_dies_after_its_session_is_no_news(
    open_nodes: list[LocalNode], recipe: str
) -> None:
    with worker(open_nodes[1], recipe) as bob:
        x = remote_tensor(bob, 12345)
    del x
    gc.collect()
