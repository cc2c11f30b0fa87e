"""The parts of pointer mode without a node: the wire, templates, parameters in transfer."""

from __future__ import annotations

import asyncio
import random
from array import array
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from websockets.exceptions import ConnectionClosed

from scripts.local.nodes import LocalNode
from server.pointers.command_stream import COMMANDS_A_FRAME, CommandStream
from shared.errors import NodeFailed
from shared.model.recipe import Recipe
from shared.pointers.commands import OPEN_POINTERS
from shared.pointers.frames import (
    MAX_TEMPLATES,
    Item,
    pack_commands,
    unpack_answers,
    unpack_commands,
)
from shared.pointers.parameter_transfer import FEWEST, ParameterBases
from shared.wire.frames import Kind, MalformedFrame
from tests.conftest import OwnerFiles
from tests.helpers.node_requests import command, reply
from tests.helpers.peers import coordinator
from tests.helpers.running import PATIENCE_SECONDS
from worker_node.pointers.operations import compile_template

TENSOR = ("r", 0)


# Templates


def test_a_template_lays_out_its_arguments() -> None:
    nested = ("l", TENSOR, ("t", 3, ("f", (0.5).hex()), ("b", 1), None), ("s", 1, None, 2), ("e",))
    operation = compile_template(("torch.stack", (nested,), (("dim", 1), ("dtype", ("d", "int8")))))
    (laid_out,) = operation.arguments([torch.ones(1)])
    assert laid_out[1:] == [(3, 0.5, True, None), slice(1, None, 2), ...]
    assert operation.named is not None
    assert operation.named([]) == {"dim": 1, "dtype": torch.int8}
    assert (operation.tensors, operation.width) == (1, 2)


def test_data_and_gradient_are_reached_through_their_tensor() -> None:
    weight = torch.ones(2, requires_grad=True)
    adding = compile_template(("add_", (("r", 1), ("r", 2)), ()))
    with pytest.raises(ValueError, match="no gradient yet"):
        adding([weight, weight])
    weight.sum().backward()  # type: ignore[no-untyped-call]
    adding([weight, weight])
    assert weight.tolist() == [2, 2]
    assert not adding.of_gradients
    assert compile_template(("__add__", (("r", 2), 0), ())).of_gradients


@pytest.mark.parametrize(
    "template",
    [
        None,
        ("add",),
        ("add", [TENSOR], ()),
        ("add", (("q", 1),), ()),
        ("add", (("r", 3),), ()),
        ("add", (("r",),), ()),
        ("add", (("d", "object"),), ()),
        ("add", (("f", "one"),), ()),
        ("add", (b"bytes",), ()),
        ("add", (TENSOR,), (("out", TENSOR),)),
        ("add", (TENSOR,), ((1, 2),)),
        ("add", (("l", ("l", ("l", ("l", ("l", ("l", ("l", ("l",)))))))),), ()),
        ("item", (TENSOR,), ()),
        ("torch.load", ("file",), ()),
        ("torch.os.system", ("true",), ()),
        ("dataset.__class__", (TENSOR,), ()),
        (17, (), ()),
    ],
)
def test_a_template_that_is_none_is_refused(template: Any) -> None:
    with pytest.raises(NodeFailed):
        compile_template(template)


def test_an_embedding_that_would_change_its_weight_is_refused() -> None:
    arguments = (TENSOR, TENSOR, None, ("f", (1.0).hex()))
    operation = compile_template(("torch.nn.functional.embedding", arguments, ()))
    with pytest.raises(ValueError, match="max_norm"):
        operation([torch.tensor([0]), torch.ones(2, 2)])


# The stream and the wire


def test_commands_are_handed_over_in_frames_and_in_order() -> None:
    sent: list[bytes] = []
    stream = CommandStream(sent.append)
    template = ("add", (TENSOR, 1), ())
    for number in range(COMMANDS_A_FRAME + 1):
        stream.command(template, [number, number + 1])
    stream.delete(7)
    answer, items = unpack_commands(sent[0])
    assert not answer
    assert items[0] == (Item.TEMPLATES, (("add", (("r", 0), 1), ()),))
    first = array("q", items[1][1]).tolist()
    assert first[:6] == [1, 0, 1, 1, 1, 2]
    answer, ((kind, rest),) = unpack_commands(stream.last())
    assert answer
    assert (kind, array("q", rest).tolist()[-2:]) == (Item.COMMANDS, [0, 7])


def test_templates_are_bounded_and_start_afresh() -> None:
    sent: list[bytes] = []
    stream = CommandStream(sent.append)
    for number in range(MAX_TEMPLATES + 1):
        stream.command(("add", (TENSOR, number), ()), [1, 2])
    stream.flush()
    items = [item for payload in sent for item in unpack_commands(payload)[1]]
    assert Item.FORGET_TEMPLATES in [kind for kind, _ in items]
    assert stream.number_of(("add", (TENSOR, MAX_TEMPLATES), ())) == 1


@given(st.binary(max_size=200))
def test_bytes_that_are_no_commands_are_malformed(data: bytes) -> None:
    for unpack in (unpack_commands, unpack_answers):
        try:
            unpack(data)
        except MalformedFrame:
            continue


@pytest.mark.parametrize("kind", [{}, (), "x", None, 1.5, True])
def test_an_item_whose_kind_is_no_number_is_malformed(kind: Any) -> None:
    with pytest.raises(MalformedFrame):
        unpack_commands(pack_commands(True, [(kind, None)]))


# Parameters in transfer

VALUES = arrays.arrays(np.float32, FEWEST + 3, elements=st.floats(width=32))


@given(st.lists(st.tuples(st.booleans(), VALUES), min_size=1, max_size=6))
def test_parameters_arrive_as_they_left_in_both_directions(
    transfers: list[tuple[bool, np.ndarray[Any, np.dtype[np.float32]]]],
) -> None:
    here, there = ParameterBases(), ParameterBases()
    for outward, values in transfers:
        sender, receiver = (here, there) if outward else (there, here)
        part = sender.pack(1, "values", values)
        got = receiver.unpack(1, "values", _travelled(part))
        assert got is not None
        assert got.tobytes() == values.tobytes()
        got += 1  # what became of it is nothing to the base


def _travelled(part: Any) -> Any:
    return unpack_commands(pack_commands(False, [(Item.PARAMETER, part)]))[1][0][1]


def test_a_few_changed_numbers_travel_alone() -> None:
    here = ParameterBases()
    values = np.zeros(100_000, np.float32)
    here.pack(1, "values", values)
    values[::1000] = 1
    stamp, places, changed = here.pack(1, "values", values)
    assert (stamp, len(places), len(changed)) == (0, 400, 400)


@pytest.mark.parametrize(
    "part",
    [
        5,
        (),
        ((2, 2), b"1234"),
        ((-1,), b""),
        ("ab", b""),
        (0, b"\0\0\0\0", b"\0\0\0\0"),
        ((3,), "text of 12 b"),
    ],
)
def test_a_part_that_is_none_is_refused(part: Any) -> None:
    with pytest.raises(NodeFailed):
        ParameterBases().unpack(1, "values", part)


@pytest.mark.parametrize(
    ("stamp", "places"), [(1, [0]), (-1, [0]), (0, [-1]), (0, [FEWEST]), (0, [0, 1])]
)
def test_a_difference_from_another_base_is_refused(stamp: int, places: list[int]) -> None:
    there = ParameterBases()
    there.unpack(1, "values", ((FEWEST,), bytes(4 * FEWEST)))
    where = np.array(places, np.int32).tobytes()
    with pytest.raises(NodeFailed):
        there.unpack(1, "values", (stamp, where, b"\0\0\0\0"))


# A hostile coordinator, against a real node


@pytest.mark.timeout(120)
def test_every_mangled_frame_of_commands_is_answered_or_ends_its_session_alone(
    owners: list[OwnerFiles], recipe: Recipe
) -> None:
    from scripts.local.nodes import local_nodes

    rng = random.Random(3)
    numbers = array("q", [1, 5, 6, 1, 6, 7, 0, 5, 2, 7]).tobytes()
    templates = [("add", (TENSOR, 1), ()), ("backward", (TENSOR,), ())]
    whole = ((2, 2), np.ones(4, np.float32).tobytes())
    items: list[tuple[int, Any]] = [
        (Item.TEMPLATES, templates),
        (Item.PARAMETER, (5, True, whole, None)),
        (Item.COMMANDS, numbers),
        (Item.SHAPE, 6),
        (Item.SEARCH, ["#train"]),
        (Item.RECORD, (1, 1, 3, array("q", [1, 0, 2]).tobytes(), (2,))),
        (Item.REPLAY, (1, (6,), (8,))),
        (Item.FETCH, 7),
        (Item.COUNT, None),
    ]
    good = pack_commands(True, items)

    def wants_an_answer(frame: bytes) -> bool:
        """Also that was mangled; what cannot be read ends the session, as it must."""
        try:
            return unpack_commands(frame)[0]
        except MalformedFrame:
            return True

    async def session(url: str) -> bool:
        """True where the node ended it."""
        async with coordinator(url) as peer:
            opening = command(OPEN_POINTERS, recipe=recipe.to_json(), seed=1)
            assert reply(await peer.ask(opening)) is None
            for _ in range(40):
                mangled = bytearray(good)
                for _ in range(rng.randint(1, 3)):
                    mangled[rng.randrange(1, len(mangled))] = rng.randrange(256)
                try:
                    sent = await peer.send(Kind.COMMANDS, bytes(mangled))
                    if not wants_an_answer(bytes(mangled)):
                        continue
                    answer = await asyncio.wait_for(peer.answer_to(sent), PATIENCE_SECONDS)
                except ConnectionClosed:
                    return True
                assert answer.kind is Kind.REPLY
                unpack_answers(answer.payload)
        return False

    async def sessions(node: LocalNode) -> list[bool]:
        return [await session(node.url) for _ in range(40)]

    flags = {"bob": (*owners[1].flags, "--allow", "pointers")}
    with local_nodes(flags) as (node,):
        ended = asyncio.run(sessions(node))
        assert any(ended)

        async def works() -> None:
            async with coordinator(node.url) as peer:
                opening = command(OPEN_POINTERS, recipe=recipe.to_json(), seed=1)
                reply(await peer.ask(opening))
                answer = await peer.answer_to(await peer.send(Kind.COMMANDS, good))
                told = unpack_answers(answer.payload)
                assert told[0] in (0, 1)

        asyncio.run(works())
        assert not any("unexpected error" in line for line in node.log)


def test_commands_before_a_session_was_opened_end_the_connection(bob: LocalNode) -> None:
    async def scene() -> None:
        async with coordinator(bob.url) as peer:
            await peer.send(Kind.COMMANDS, pack_commands(True, []))
            with pytest.raises(Exception, match="1002"):
                await peer.receive()

    asyncio.run(scene())
