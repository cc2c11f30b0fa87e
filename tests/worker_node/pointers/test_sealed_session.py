"""Frames of a sealed session, in one process: what is run, what leaves, and what a failure says."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
import torch

from shared.errors import NodeFailed
from shared.model.vectors import new_object_id
from shared.pointers.frames import Item, Template, pack_commands, unpack_answers
from shared.pysyft import ObjectMessage, deserialize, make_hook, serialize
from tests.helpers.sealed import context_of, parties_of
from worker_node.pointers.child import make_decoder
from worker_node.pointers.sealed_operations import Part
from worker_node.pointers.sealed_session import SealedSession

IDS = np.array([[1, 63, 0], [17, 16, 1]])
T = ("r", 0)


class Session:
    """Bob's, as a coordinator speaks to it. Ids of objects are counted from 1."""

    def __init__(self) -> None:
        make_hook()
        self.learned: list[Any] = []
        self.paid: list[int] = []
        us = parties_of(ids=IDS)
        part = Part("bob", us.context, us.seals["bob"], IDS, 64, True)
        self.session = SealedSession(
            make_decoder(), part, lambda *one: self.learned.append(one), self.paid.append
        )
        self.us = us

    def ask(self, *items: tuple[Item, Any]) -> tuple[Any, ...]:
        answer = self.session.handle(pack_commands(True, [(int(one), two) for one, two in items]))
        assert answer is not None
        return unpack_answers(answer)

    def put(self, object_id: int, values: Any) -> tuple[Item, Any]:
        value: Any = torch.tensor(values)
        value.id = object_id
        return Item.OBJECT, serialize(ObjectMessage(value), make_hook().local_worker)

    def run(self, template: Template, *ids: int) -> tuple[tuple[Item, Any], ...]:
        numbers = array("q", [1, *ids]).tobytes()
        return (
            (Item.FORGET_TEMPLATES, None),
            (Item.TEMPLATES, (template,)),
            (Item.COMMANDS, numbers),
        )

    def fetched(self, object_id: int) -> Any:
        kind, *told = self.ask((Item.FETCH, object_id))
        assert kind == 0, told
        return deserialize(told[0][0], make_hook().local_worker)

    def objects(self) -> list[int]:
        return sorted(self.ask((Item.COUNT, None))[1][0])

    def value(self, object_id: int) -> Any:
        return self.session.store.get(object_id)


@pytest.fixture
def ours() -> Session:
    return Session()


X, Y = [[3, -4], [5, 6]], [[1, 2], [0, -1]]
TRUNC = (("rounding_mode", "trunc"),)


@pytest.mark.parametrize(
    ("template", "ids", "plain"),
    [
        (("__add__", (T, T), ()), (1, 2), lambda x, y: x + y),
        (("__sub__", (T, T), ()), (1, 2), lambda x, y: x - y),
        (("__mul__", (T, T), ()), (1, 2), lambda x, y: x * y),
        (("__mul__", (T, 3), ()), (1,), lambda x, y: x * 3),
        (("__radd__", (T, 7), ()), (1,), lambda x, y: 7 + x),
        (("__rsub__", (T, 7), ()), (1,), lambda x, y: 7 - x),
        (("torch.cat", (("l", T, T),), ()), (1, 2), lambda x, y: np.concatenate([x, y])),
        (("torch.stack", (("l", T, T),), ()), (1, 2), lambda x, y: np.stack([x, y])),
        (("__neg__", (T,), ()), (1,), lambda x, y: -x),
        (("__getitem__", (T, 1), ()), (1,), lambda x, y: x[1]),
        (("reshape", (T, -1), ()), (1,), lambda x, y: x.reshape(-1)),
        (("unsqueeze", (T, 0), ()), (1,), lambda x, y: x[None]),
        (("sum", (T,), ()), (1,), lambda x, y: x.sum()),
        (("sum", (T,), (("dim", 1),)), (1,), lambda x, y: x.sum(axis=1)),
        (("flip", (T, ("t", 0)), ()), (1,), lambda x, y: x[::-1]),
        (("div", (T, 2), TRUNC), (1,), lambda x, y: np.fix(x / 2)),
        (("div", (T, 3), TRUNC), (1,), lambda x, y: np.fix(x / 3)),
    ],
)
def test_linear_operations_are_run_on_shares(
    ours: Session, template: Template, ids: tuple[int, ...], plain: Any
) -> None:
    told = ours.ask(ours.put(1, X), ours.put(2, Y), *ours.run(template, *ids, 3))
    assert told == (0, ())
    assert ours.value(3).tolist() == plain(np.array(X), np.array(Y)).tolist()
    kind, _, fact, cause, _ = ours.ask((Item.FETCH, 3))
    assert (kind, fact) == (1, "it does not leave the node")
    assert "what is sealed for another node leaves" in cause
    assert ours.objects() == [1, 2, 3]  # it stays where it was


@pytest.mark.parametrize(
    "template",
    [
        ("matmul", (T, T), ()),
        ("mul", (T, T), ()),
        ("relu", (T,), ()),
        ("__add__", (T, T), (("dim", 0),)),
        ("__getitem__", (T, T), ()),
        ("__neg__", (), ()),
        ("sum", (T,), (("keepdim", ("b", 1)),)),
        ("sum", (T,), (("dim", 0), ("keepdim", ("b", 1)))),
        ("div", (T, T), TRUNC),
        ("div", (T, 1), TRUNC),
        ("div", (T, 0), TRUNC),
        ("div", (T, -2), TRUNC),
        ("div", (T, ("f", (2.0).hex())), TRUNC),
        ("div", (T, ("b", 1)), TRUNC),
        ("div", (T, 2), (("rounding_mode", "floor"),)),
        ("div", (T, 2), ()),
        ("div", (T,), TRUNC),
        ("div", (2, T), TRUNC),
        ("div", (T, 2, 2), TRUNC),
        ("div", (2, 2), TRUNC),
        ("divide", (T, 2), TRUNC),
        ("sealed.reveal", (T,), (("dim", 0),)),
    ],
)
def test_others_are_not_known_to_it(ours: Session, template: Template) -> None:
    with pytest.raises(NodeFailed, match="sealed session does not run"):
        ours.session._compile(template)
    kind, number, fact, *_ = ours.ask((Item.TEMPLATES, (template,)))
    assert (kind, number) == (1, -1)
    assert "sealed session does not run" in fact


def test_what_is_sealed_leaves_once_and_is_gone_then(ours: Session) -> None:
    template = ("sealed.reveal", (T,), ())
    assert ours.ask(ours.put(1, [[7]]), *ours.run(template, 1, 2)) == (0, ())
    sealed = bytes(ours.fetched(2).tolist())
    about = ("result", (1, 1))
    opened = ours.us.seals["bob"].open("bob", "result", about, sealed)
    assert np.frombuffer(opened, np.int64).tolist() == [7]
    assert ours.objects() == [1]
    kind, *_ = ours.ask((Item.FETCH, 2))
    assert kind == 1


def test_a_fetched_tensor_has_the_id_that_the_coordinator_knows(ours: Session) -> None:
    object_id = new_object_id()
    ours.ask(ours.put(1, [[7]]), *ours.run(("sealed.reveal", (T,), ()), 1, object_id))
    assert ours.fetched(object_id).id == object_id


def test_nothing_that_was_sent_or_made_of_what_may_leave_leaves(ours: Session) -> None:
    ours.ask(ours.put(1, [[7]]), *ours.run(("sealed.reveal", (T,), ()), 1, 2))
    ours.ask(*ours.run(("reshape", (T, -1), ()), 2, 3), *ours.run(("__add__", (T, T), ()), 2, 2, 4))
    for object_id in (1, 3, 4):
        assert ours.ask((Item.FETCH, object_id))[2] == "it does not leave the node"


ANSWERED = {Item.OBJECT, Item.FETCH, Item.COUNT, Item.CLEAR}
OF_PROGRAMS = {Item.TEMPLATES, Item.FORGET_TEMPLATES, Item.COMMANDS}


@pytest.mark.parametrize("kind", sorted(set(Item) - ANSWERED - OF_PROGRAMS))
def test_nothing_else_is_answered(ours: Session, kind: Item) -> None:
    contents: dict[Item, Any] = {
        Item.SHAPE: 1,
        Item.SEARCH: (),
        Item.RECORD: (1, (), 0, b"", ()),
        Item.REPLAY: (1, (), ()),
        Item.PARAMETER: (1, False, b"", b""),
    }
    told = ours.ask(ours.put(1, X), (kind, contents[kind]))
    assert told[:2] == (1, -1)
    if kind is not Item.RECORD:  # which may be malformed before it is looked at
        assert told[2] == "a sealed session does not answer this"
    with pytest.raises(NodeFailed, match="does not answer this"):
        ours.session._actions[kind](contents[kind], [])


def test_objects_are_counted_and_forgotten(ours: Session) -> None:
    assert ours.objects() == []
    ours.ask(ours.put(1, X), ours.put(2, Y))
    assert ours.objects() == [1, 2]
    ours.ask((Item.CLEAR, None))
    assert ours.objects() == []


def test_scores_are_not_counted(ours: Session) -> None:
    ours.ask(ours.put(1, [0.5]), ours.put(2, [1.0]))
    with pytest.raises(NodeFailed, match="counts no scores"):
        ours.session.summarise([1], [2])


def test_a_failure_of_ours_says_why_and_torchs_only_its_kind(ours: Session) -> None:
    add = ("__add__", (T, T), ())
    told = ours.ask(ours.put(1, [1, 2, 3]), ours.put(2, [1, 2]), *ours.run(add, 1, 2, 3))
    assert told == (1, 0, "it failed there", "RuntimeError", "")
    told = ours.ask(*ours.run(("sealed.take", (T, "low", ("t", 1, 16)), ()), 1, 3))
    assert told[:3] == (1, 1, "what is sealed is a tensor of bytes")
    rows = ("sealed.rows", (0, 9, 16, "low"), ())
    told = ours.ask(*ours.run(rows, 3))
    assert told[:3] == (1, 2, "there are no such messages of this owner's")
    zeros = ours.put(4, np.zeros(8 * 16 + 16, np.uint8).tolist())
    told = ours.ask(zeros, *ours.run(("sealed.take", (T, "low", ("t", 1, 16)), ()), 4, 5))
    assert told[0] == 1


def test_what_is_told_is_paid_and_what_is_learned_is_handed_on(ours: Session) -> None:
    us = ours.us
    sealed = [
        us.seals[one].seal("bob", "result", ("result", (1, 1)), bytes(8))
        for one in us.context.holders
    ]
    puts = []
    for place, one in enumerate(sealed, start=1):
        value: Any = torch.tensor(list(one), dtype=torch.uint8)
        value.id = place
        puts.append((Item.OBJECT, serialize(ObjectMessage(value), make_hook().local_worker)))
    template = ("sealed.learn", (T, T, 1, 1, 8192), ())
    assert ours.ask(*puts, *ours.run(template, 1, 2, 3)) == (0, ())
    assert ours.learned == [(1, [0.5])]
    assert ours.paid == [10]
    assert ours.fetched(3).tolist() == [500]


def test_two_sessions_have_nothing_of_each_other() -> None:
    first, second = Session(), Session()
    first.ask(first.put(1, X))
    assert second.objects() == []
    assert context_of().session != context_of().session
