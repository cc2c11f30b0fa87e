"""What leaves a node that allows pointers, and what it runs for a coordinator that means harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from scripts.local.nodes import LocalNode, local_nodes
from server.pointers import connect
from server.pointers.client import PointerClient
from shared.errors import NodeFailed, PolicyRefused, UsageError
from shared.pointers.frames import Item
from shared.pysyft import make_hook
from tests.conftest import OwnerFiles
from tests.helpers.pointers import rows_of, worker, write_recipe

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_recipe(tmp_path_factory.mktemp("pointers"))


@pytest.fixture(scope="module")
def open_node(owners: list[OwnerFiles]) -> Iterator[LocalNode]:
    """Bob's node, who allows pointers."""
    with local_nodes({"bob": (*owners[1].flags, "--allow", "pointers")}) as (node,):
        yield node


@pytest.fixture(name="bob")
def a_session_with_bob(open_node: LocalNode, recipe: str) -> Iterator[PointerClient]:
    with worker(open_node, recipe) as session:
        yield session


def hidden_in(bob: PointerClient, inputs: Any) -> Any:
    """A tensor of the coordinator's own into which rows were written, through a view."""
    mine: Any = torch.zeros(140, 6, dtype=torch.int64).send(bob)  # type: ignore[attr-defined]
    mine.view(-1).view(140, 6).add_(inputs)
    return mine


WAYS: dict[str, Callable[[PointerClient, Any], Any]] = {
    "as they are": lambda bob, inputs: inputs,
    "a part": lambda bob, inputs: inputs[0],
    "a view": lambda bob, inputs: inputs.view(-1),
    "as another type": lambda bob, inputs: inputs.float(),
    "a copy": lambda bob, inputs: inputs.copy(),
    "times one": lambda bob, inputs: inputs * 1,
    "stacked": lambda bob, inputs: torch.stack([inputs, inputs]),
    "a piece": lambda bob, inputs: inputs.chunk(2)[0],
    "multiplied with ones": lambda bob, inputs: (
        inputs.float() @ torch.eye(6).send(bob)  # type: ignore[attr-defined]
    ),
    "sums of columns": lambda bob, inputs: inputs.sum(dim=0),
    "written into another tensor": hidden_in,
    "picked from a table of ours": lambda bob, inputs: torch.nn.functional.embedding(
        inputs,
        torch.arange(512.0)[:, None].send(bob),  # type: ignore[attr-defined]
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_rows_do_not_leave_a_node(bob: PointerClient, way: str) -> None:
    inputs, _ = rows_of(bob)
    disguised = WAYS[way](bob, inputs)
    with pytest.raises(NodeFailed, match="rows do not leave the node"):
        disguised.get()


def test_rows_written_by_a_replayed_step_do_not_leave_either(bob: PointerClient) -> None:
    """Two inputs that share memory; the step writes rows into one and copies the other."""
    inputs, _ = rows_of(bob)
    mine: Any = torch.zeros(140, 6, dtype=torch.int64).send(bob)  # type: ignore[attr-defined]
    same = mine.view(-1)
    template = ("add_", (("r", 0), ("r", 0)), ())
    copying = ("__mul__", (("r", 0), 1), ())
    numbers = [bob.stream.number_of(template), 0, 1, bob.stream.number_of(copying), 2, 3]
    content = (7, 3, 4, np.array(numbers, dtype="<i8").tobytes(), (3,))
    bob.stream.item(Item.RECORD, content)
    ids = [tensor.id_at_location for tensor in (mine, inputs, same)]
    bob.stream.item(Item.REPLAY, (7, ids, (99,)))
    for object_id in (99, mine.id_at_location, same.id_at_location):
        with pytest.raises(NodeFailed, match="rows do not leave the node"):
            bob.fetch([object_id])


def test_rows_are_not_changed_nor_replaced_nor_deleted(bob: PointerClient) -> None:
    inputs, _ = rows_of(bob)
    with pytest.raises(NodeFailed, match="rows are not changed"):
        inputs[0].zero_().sum().get()
    with pytest.raises(NodeFailed, match="rows are not changed"):
        bob.fetch([torch.nn.functional.relu(inputs, inplace=True).sum().id_at_location])  # type: ignore[attr-defined]
    impostor: Any = torch.zeros(140, 6)
    impostor.id = inputs.id_at_location
    impostor.send(bob)
    with pytest.raises(NodeFailed, match="rows are not replaced"):
        bob.wait()
    bob.discard(inputs.id_at_location)
    bob.clear_objects_remote()
    assert inputs.float().mean().get().item() > 0


@pytest.mark.parametrize("name", ["item", "tolist", "numpy", "register_hook", "share", "set_"])
def test_an_operation_that_is_not_on_the_list_is_refused_here(
    bob: PointerClient, name: str
) -> None:
    x: Any = torch.ones(1).send(bob)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="nodes do not run"):
        make_hook().local_worker.send_command(bob, (name, x.child, (), {}))


@pytest.mark.parametrize(
    "name",
    ["item", "torch.load", "torch.from_file", "torch.save", "__getattribute__", "dataset.send", ""],
)
def test_an_operation_that_is_not_on_the_list_is_refused_there(
    bob: PointerClient, name: str
) -> None:
    bob.stream.number_of((name, (("r", 0),), ()))
    with pytest.raises(NodeFailed, match="not among the operations"):
        bob.wait()


def test_a_local_tensor_is_not_sent_by_accident(bob: PointerClient) -> None:
    x: Any = torch.ones(2).send(bob)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="send them first"):
        make_hook().local_worker.send_command(bob, ("add", x.child, (torch.ones(2),), {}))


def test_an_owner_who_does_not_allow_pointers_is_named(nodes: list[LocalNode]) -> None:
    with pytest.raises(PolicyRefused, match="does not allow pointer operations") as refused:
        connect(nodes[1].flag)
    assert "--allow pointers" in refused.value.cause
