"""A sealed session's operations, party by party: what they give, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from shared.errors import NodeFailed
from shared.pointers.sealed_sessions import Seal, Unreadable
from shared.pointers.tensor_operations import MAY_WRITE, OPERATIONS, SEALED, Gives
from shared.pysyft import make_hook
from tests.helpers.sealed import Parties, context_of, parties_of, split, whole_of
from worker_node.pointers.child import make_decoder
from worker_node.pointers.operations import compile_template
from worker_node.pointers.sealed_operations import Part
from worker_node.pointers.sealed_session import OF_ONE, OF_SEVERAL, SealedSession

IDS = np.array([[1, 63, 0], [17, 16, 1]])


@pytest.fixture(autouse=True)
def hooked() -> None:
    make_hook()


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("mul", [2**40, -3, 0], [5, -4, 9]),
        ("mul", [[1], [2]], [[10, 20]]),
        ("matmul", [[1, 2], [3, 4]], [[1, 0], [0, -1]]),
        ("matmul", [[[1, 2]], [[0, 1]]], [[[5], [6]], [[7], [8]]]),
        ("mul", [2**62], [4]),
    ],
)
def test_products_are_those_of_the_ring(name: str, x: Any, y: Any) -> None:
    found = whole_of(parties_of().product(split(x), split(y), name))
    plain: Any = getattr(torch, name)(torch.tensor(x), torch.tensor(y))
    assert found == plain.tolist()


@pytest.mark.parametrize("which", ["low", "high"])
def test_messages_are_shared_as_digits_of_their_words(which: str) -> None:
    us = parties_of(ids=IDS)
    packets = us.packets("bob", "rows", 0, 2, 16, which)
    shape = (6, 16) if which == "low" else (6, 1, 4)
    shares = [
        us.ask(holder, "take", packet, which, shape)
        for holder, packet in zip(us.context.holders, packets, strict=True)
    ]
    digits = IDS.ravel() % 16 if which == "low" else IDS.ravel() // 16
    assert np.array(whole_of(shares)).reshape(6, -1).argmax(axis=1).tolist() == digits.tolist()
    assert np.array(whole_of(shares)).sum() == 6


def reveal(us: Parties, logits: Any) -> list[Any]:
    shares = split(logits)
    return [
        us.ask(holder, "reveal", one)
        for holder, one in zip(us.context.holders, shares, strict=True)
    ]


@pytest.mark.parametrize("tells", [False, True])
def test_the_owner_learns_scores_and_tells_them_where_it_does(tells: bool) -> None:
    us = parties_of(ids=IDS, tells=tells)
    told = us.ask("bob", "learn", *reveal(us, [[0], [3 * 100]]), 0, 2, 100)
    ((first, scores),) = us.learned
    assert first == 0
    assert scores == pytest.approx([0.5, 0.95257], abs=1e-5)
    assert told.tolist() == ([500, 953] if tells else [-1])
    assert us.paid == ([20] if tells else [])


def test_what_is_told_is_paid_for_before_it_is_known() -> None:
    us = parties_of(ids=IDS, tells=True)

    def refuse(bits: int) -> None:
        raise NodeFailed("used up")

    us.operations["bob"]._take = refuse
    with pytest.raises(NodeFailed, match="used up"):
        us.ask("bob", "learn", *reveal(us, [[0], [1]]), 0, 2, 1)
    assert us.learned == []


@pytest.mark.parametrize(
    ("begin", "rows", "scale"), [(1, 2, 1), (-1, 1, 1), (0, 0, 1), (0, 2, 0), (2, 1, 1)]
)
def test_scores_are_of_the_owners_own_messages(begin: int, rows: int, scale: int) -> None:
    us = parties_of(ids=IDS)
    with pytest.raises(NodeFailed, match="no such messages"):
        us.ask("bob", "learn", *reveal(us, [[0]] * max(rows, 1)), begin, rows, scale)


@pytest.mark.parametrize(
    "arguments", [(0, 3, 16, "low"), (1, 1, 16, "low"), (-1, 1, 16, "low"), (0, 2, 1, "low")]
)
def test_messages_that_are_not_there_are_not_shared(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(NodeFailed, match="no such messages"):
        parties_of(ids=IDS).ask("bob", "rows", *arguments)


@pytest.mark.parametrize(
    ("who", "name", "arguments"),
    [
        ("bob", "triple", ("mul", (1,), (1,))),
        ("anne", "rows", (0, 1, 16, "low")),
        ("carol", "rows", (0, 1, 16, "low")),
        ("anne", "learn", (None, None, 0, 1, 1)),
        ("carol", "reveal", (torch.tensor([1]),)),
        ("carol", "take", (torch.tensor([1]), "low", (1, 16))),
    ],
)
def test_nobody_does_what_is_anothers_part(who: str, name: str, arguments: Any) -> None:
    with pytest.raises(NodeFailed, match="another part"):
        parties_of(ids=IDS).ask(who, name, *arguments)


@pytest.mark.parametrize(
    "parts",
    [
        {"holders": ("bob", "bob")},
        {"provider": "bob"},
        {"provider": "anne"},
        {"owner": "carol"},
    ],
)
def test_nobody_has_two_parts_that_read_each_other(parts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"not three|no messages"):
        context_of(**parts)


class TestTriples:
    """Each is used once, by those for whom its provider made it."""

    X, Y = split([[3, 4]]), split([[5], [6]])

    def mask(self, us: Parties, packet: Any, who: str = "bob", name: str = "matmul") -> Any:
        return us.ask(who, "mask", self.X[0], self.Y[0], packet, name)

    def triple(self, us: Parties) -> list[Any]:
        return us.packets("carol", "triple", "matmul", (1, 2), (2, 1))

    def test_one_that_was_used_is_refused(self) -> None:
        us = parties_of()
        packet, _ = self.triple(us)
        self.mask(us, packet)
        with pytest.raises(NodeFailed, match="cannot be opened"):
            self.mask(us, packet)

    def test_another_holders_is_refused(self) -> None:
        us = parties_of()
        with pytest.raises(NodeFailed, match="cannot be opened"):
            self.mask(us, self.triple(us)[1])

    def test_one_of_another_session_is_refused(self) -> None:
        with pytest.raises(NodeFailed, match="cannot be opened"):
            self.mask(parties_of(), self.triple(parties_of())[0])

    def test_one_that_was_changed_is_refused(self) -> None:
        us = parties_of()
        packet, _ = self.triple(us)
        packet[5] ^= 1
        with pytest.raises(NodeFailed, match="cannot be opened"):
            self.mask(us, packet)

    def test_one_of_the_coordinators_own_is_refused(self) -> None:
        zeros: Any = torch.zeros(8 * 5 + 16, dtype=torch.uint8)
        with pytest.raises(NodeFailed, match="cannot be opened"):
            self.mask(parties_of(), zeros)

    def test_one_for_another_product_or_other_sizes_is_refused(self) -> None:
        us = parties_of()
        with pytest.raises(NodeFailed, match="cannot be opened"):
            us.ask("bob", "mask", self.X[0], self.X[0], self.triple(us)[0], "mul")

    def test_a_mask_of_one_number_does_not_hide_many(self) -> None:
        us = parties_of()
        packet, _ = us.packets("carol", "triple", "mul", (1,), (400,))
        many: Any = torch.arange(400)
        with pytest.raises(NodeFailed, match="cannot be opened"):
            us.ask("bob", "mask", many, many, packet, "mul")

    def test_what_the_other_holder_told_is_taken_once_and_of_it_alone(self) -> None:
        us = parties_of()
        packets = self.triple(us)
        told = [self.mask(us, one, who) for one, who in zip(packets, ("bob", "anne"), strict=True)]
        with pytest.raises(NodeFailed, match="cannot be opened"):
            us.ask("anne", "product", told[1])  # its own
        us = parties_of()
        packets = self.triple(us)
        told = [self.mask(us, one, who) for one, who in zip(packets, ("bob", "anne"), strict=True)]
        us.ask("anne", "product", told[0])
        with pytest.raises(NodeFailed, match="begun and not ended"):
            us.ask("anne", "product", told[0])

    def test_the_provider_cannot_open_what_holders_tell_each_other(self) -> None:
        us = parties_of()
        told = bytes(self.mask(us, self.triple(us)[0]).tolist())
        about = ("matmul", (1, 2), (2, 1))
        assert len(us.seals["anne"].open("bob", "opening", about, told)) == 8 * 4
        for who in ("carol", "bob"):
            with pytest.raises(Unreadable):
                us.seals[who].open("bob", "opening", about, told)


@pytest.mark.parametrize("owner", ["bob", "anne", "dora"])
def test_a_word_is_looked_up_for_any_owner_and_its_score_is_the_owners(owner: str) -> None:
    us = parties_of(context_of(owner=owner), ids=IDS)
    holders = us.context.holders
    low, high = (
        [
            us.ask(holder, "take", packet, which, shape)
            for holder, packet in zip(
                holders, us.packets(owner, "rows", 0, 2, 16, which), strict=True
            )
        ]
        for which, shape in (("low", (6, 16)), ("high", (6, 1, 4)))
    )
    # word w is worth w, in 4 blocks of 16
    blocks = us.product(low, split(np.arange(64).reshape(4, 16).T.tolist()), "matmul")
    words = us.product(high, [one.reshape(6, 4, 1) for one in blocks], "matmul")
    sums = [one.reshape(2, 3, 1).sum(1) for one in words]
    sealed = [us.ask(holder, "reveal", one) for holder, one in zip(holders, sums, strict=True)]
    us.ask(owner, "learn", *sealed, 0, 2, 1000)
    ((_, spam),) = us.learned
    assert spam == pytest.approx((1 / (1 + np.exp(-IDS.sum(axis=1) / 1000))).tolist())
    with pytest.raises(NodeFailed, match="another part"):
        us.ask("carol", "learn", *sealed, 0, 2, 1000)


def test_floats_are_no_shares() -> None:
    us = parties_of()
    packet, _ = us.packets("carol", "triple", "mul", (1,), (1,))
    with pytest.raises(NodeFailed, match="int64"):
        us.ask("bob", "mask", torch.tensor([1.0]), torch.tensor([1.0]), packet, "mul")


def test_a_session_without_its_keys_is_none() -> None:
    us = parties_of()
    with pytest.raises(Unreadable, match="no part"):
        us.seals["bob"].seal("mallory", "opening", (), b"")


@pytest.fixture(scope="module")
def session() -> SealedSession:
    context = context_of()
    part = Part("bob", context, Seal("bob", {}), IDS, 64, False)
    return SealedSession(make_decoder(), part, lambda *_: None, lambda _: None)


ALLOWED = {*OF_SEVERAL, *OF_ONE}
TENSOR = ("r", 0)


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - ALLOWED))
def test_other_operations_are_not_run(session: SealedSession, name: str) -> None:
    if name.startswith(SEALED):
        assert session._compile((name, (TENSOR,), ())).gives is Gives.ONE
        return
    with pytest.raises(NodeFailed):
        session._compile((name, (TENSOR,), ()))


def test_none_of_the_others_tells_a_size_or_writes() -> None:
    assert {OPERATIONS[name] for name in ALLOWED} == {Gives.ONE}
    assert ALLOWED.isdisjoint(MAY_WRITE)


@pytest.mark.parametrize(
    "template",
    [
        ("__getitem__", (TENSOR, TENSOR), ()),
        ("reshape", (TENSOR, TENSOR), ()),
        ("sum", (TENSOR,), (("dtype", ("d", "torch.uint8")),)),
        ("torch.cat", (("l", TENSOR),), (("out", TENSOR),)),
        ("div", (TENSOR, TENSOR), (("rounding_mode", "trunc"),)),
        ("div", (TENSOR, 1), (("rounding_mode", "trunc"),)),
        ("div", (TENSOR, -1), (("rounding_mode", "trunc"),)),
        ("div", (TENSOR, 0), (("rounding_mode", "trunc"),)),
        ("div", (TENSOR, 2), ()),
        ("sealed.reveal", (TENSOR,), (("x", 1),)),
    ],
)
def test_arguments_that_could_tell_of_values_are_refused(
    session: SealedSession, template: Any
) -> None:
    with pytest.raises(NodeFailed):
        session._compile(template)


def test_a_sealed_operation_is_none_of_other_sessions() -> None:
    for name in OPERATIONS:
        if name.startswith(SEALED):
            with pytest.raises(NodeFailed, match="not among the operations"):
                compile_template((name, (), ()))
