"""A restricted worker builds nothing from a message that is not on its list."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from shared import pysyft
from tests.helpers.pysyft_messages import ROUND, Node, simple, wire


@pytest.fixture(scope="module")
def me() -> Any:
    return pysyft.make_hook().local_worker


@pytest.fixture
def node(me: Any) -> Node:
    return Node(me.hook, "localhost", 0, id="bob", loop=object())


@pytest.fixture
def strict_node(node: Node) -> Node:
    pysyft.restrict_decoder(node, ROUND)
    return node


@pytest.mark.parametrize(
    "message",
    [
        pysyft.ObjectMessage(torch.ones(2, requires_grad=True)),
        pysyft.ObjectRequestMessage(7, None, "weights"),
        pysyft.ForceObjectDeleteMessage("some id"),
        pysyft.WorkerCommandMessage("train", ((), {"recipe": "{}", "seeds": [1, 2]}, (3,))),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_restricted_worker_reads_the_messages_of_a_round(
    strict_node: Node, message: object
) -> None:
    received = pysyft.deserialize(pysyft.serialize(message, strict_node), strict_node)
    assert type(received) is type(message)


# by type code, so that nothing has to be built here either
HOSTILE = {
    "a worker, made and registered": [43, [[5, [b"eve"]], [0, []], True]],
    "another worker": [30, [[5, [b"me"]]]],
    "a torch script": [12, [b"PK"]],
    "a numpy array": [8, [b"1234", [6, [1]], [5, [b"int32"]]]],
    "a search": [39, [[1, []]]],
    "a tensor command": [33, [[54, [[6, []], [1, []], False]]]],
    "a pointer": [34, [[25, [1, 2, [5, [b"bob"]], [5, [b"owner.hook"]], None, True, None, None]]]],
    "an error": [41, [[5, [b"GetNotPermittedError"]], [5, [b""]], [0, []]]],
    "a plan": [34, [[21, []]]],
}


@pytest.mark.parametrize("values", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_restricted_worker_builds_nothing_that_is_not_on_its_list(
    me: Any, strict_node: Node, values: object
) -> None:
    known, objects = set(me._known_workers), set(strict_node._objects)
    with pytest.raises(pysyft.ForbiddenContent):
        pysyft.deserialize(wire(values), strict_node)
    with pytest.raises(pysyft.ForbiddenContent):
        pysyft.deserialize(wire([53, [[5, [b"train"]], [6, [values]]]]), strict_node)
    assert set(me._known_workers) == known
    assert set(strict_node._objects) == objects


def test_a_restricted_worker_takes_no_tensor_that_writes_elsewhere(
    me: Any, strict_node: Node
) -> None:
    for field, value in ((7, [5, [b"me"]]), (8, 99), (2, [25, []])):
        values = simple(pysyft.ObjectMessage(torch.zeros(2)), me)
        values[1][0][1][field] = value
        with pytest.raises(pysyft.ForbiddenContent, match="origin"):
            pysyft.deserialize(wire(values), strict_node)


@pytest.mark.parametrize(
    ("field", "value"),
    [(0, [1]), (0, None), (4, 5), (4, [3, [7]]), (4, [1, []]), (5, 5), (6, [5, [b"all"]])],
)
def test_a_tensor_with_a_label_that_is_none_is_malformed(
    me: Any, strict_node: Node, field: int, value: object
) -> None:
    values = simple(pysyft.ObjectMessage(torch.zeros(2)), me)
    values[1][0][1][field] = value
    with pytest.raises(pysyft.MalformedMessage):
        pysyft.deserialize(wire(values), strict_node)


@pytest.mark.parametrize("object_id", [None, 1.5, [1, 2], (), {}])
def test_an_id_that_is_neither_number_nor_word_is_malformed(
    me: Any, strict_node: Node, object_id: Any
) -> None:
    for message in (
        pysyft.ObjectRequestMessage(object_id, None, ""),
        pysyft.ForceObjectDeleteMessage(object_id),
    ):
        with pytest.raises(pysyft.MalformedMessage, match="an id that is none"):
            pysyft.deserialize(pysyft.serialize(message, me), strict_node)


def test_pysyfts_own_way_in_is_restricted_too(me: Any, strict_node: Node) -> None:
    with pytest.raises(pysyft.ForbiddenContent):
        strict_node.recv_msg(pysyft.serialize(pysyft.SearchMessage([]), me))


def test_a_list_with_a_type_that_has_no_rule_is_an_error(node: Node) -> None:
    with pytest.raises(ValueError, match="no rule for the content of Plan"):
        pysyft.restrict_decoder(node, [torch.Tensor, pysyft.sy.Plan])


def test_a_worker_that_takes_pointers_takes_them_to_its_own_objects_only(
    me: Any, node: Node
) -> None:
    accepted = [pysyft.ObjectMessage, pysyft.PointerTensor, str]
    pysyft.restrict_decoder(node, accepted)
    tensor: Any = torch.ones(2)
    tensor.id = 11
    node.register_obj(tensor)

    def pointer(owner: bytes, attribute: bytes) -> bytes:
        parts = [1, 11, [5, [owner]], [5, [attribute]], None, False, None, None]
        return wire([34, [[25, parts]]])

    assert pysyft.deserialize(pointer(b"bob", b"data"), node).object.tolist() == [1, 1]
    for owner, attribute in ((b"me", b"data"), (b"bob", b"owner.hook")):
        with pytest.raises(pysyft.ForbiddenContent, match="a pointer to an"):
            pysyft.deserialize(pointer(owner, attribute), node)
