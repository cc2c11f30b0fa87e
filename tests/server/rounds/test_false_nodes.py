"""What a coordinator does with a node that is broken or lies: one clear error that names it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import torch
from websockets.asyncio.server import ServerConnection

from server.nodes.addresses import NodeAddress
from server.nodes.client import NodeClient
from server.nodes.dial import dial
from server.nodes.members import Members
from server.rounds.coordinator import Coordinator
from server.rounds.plan import Plan, new_run_id
from shared.errors import (
    FedsmsError,
    HandshakeRefused,
    NodeFailed,
    NodeTimeout,
    NodeUnreachable,
    UsageError,
)
from shared.model.classifier import initial_state
from shared.model.metrics import BINS
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.wire.commands import EVALUATE, TRAIN
from shared.wire.frames import Frame, Kind, frame, pack_error, pack_map
from shared.wire.timeouts import Timeouts
from tests.helpers.false_nodes import EVALUATED, TRAINED, Answers, pack
from tests.helpers.federating import Watcher, trained
from tests.helpers.peers import Misdeed, cuts_the_line, false_node, hangs_up, says_text, sends

pytestmark = pytest.mark.timeout(60)


async def train_on(
    urls: dict[str, str], recipe: Recipe, timeouts: Timeouts | None = None
) -> Vector:
    """Trains on nodes that all are needed, and are not dialled again once lost."""
    given = timeouts or Timeouts()
    links = {node: await dial(NodeAddress(node, url), timeouts=given) for node, url in urls.items()}
    try:
        coordinator = Coordinator(Members.standing(links, given), recipe, Plan(1, new_run_id()))
        return await coordinator.run(initial_state(recipe, 1))
    finally:
        for link in links.values():
            await link.close()


def train_with(answers: Answers, recipe: Recipe, timeouts: Timeouts | None = None) -> FedsmsError:
    """Trains on a false node; gives the error that ends it."""

    async def session() -> None:
        async with false_node(answers) as url:
            async with asyncio.timeout(30):
                await train_on({"mallory": url}, recipe, timeouts)

    with pytest.raises(FedsmsError) as caught:
        asyncio.run(session())
    return caught.value


def test_the_false_node_can_also_be_a_good_one(recipe: Recipe) -> None:
    async def session() -> None:
        async with false_node(Answers(recipe)) as url:
            await train_on({"mallory": url}, recipe)

    asyncio.run(session())


def state(size: int, dtype: Any = torch.float32) -> bytes:
    return pack(torch.zeros(size, dtype=dtype))


LIES: dict[str, tuple[dict[str, Callable[[], bytes]], str]] = {
    "a state of another size": ({"object": lambda: state(3)}, "a state of another size"),
    "no state at all": ({"object": lambda: state(0)}, "a state of another size"),
    "a state of doubles": ({"object": lambda: state(4391, torch.float64)}, "no model state"),
    "a patch that does not fit": ({"object": lambda: state(9, torch.uint8)}, "does not fit"),
    "a state that is not finite": (
        {"object": lambda: pack(torch.full((4391,), float("inf")))},
        "not finite",
    ),
    "a word for a state": ({"object": lambda: pack("here you are")}, "no model state"),
    "garbage for a state": ({"object": lambda: b"\x28\xc1garbage"}, "malformed message"),
    "nothing for a state": ({"object": lambda: b""}, "malformed message"),
    "a loss that is no number": (
        {TRAIN: lambda: pack({**TRAINED, "loss": float("nan")})},
        "malformed TrainReport: loss",
    ),
    "rows below one": (
        {TRAIN: lambda: pack({**TRAINED, "rows": 0})},
        "malformed TrainReport: rows",
    ),
    "rows beyond belief": (
        {TRAIN: lambda: pack({**TRAINED, "rows": 2**62})},
        "malformed TrainReport: rows",
    ),
    "a list for a report": ({TRAIN: lambda: pack([1, 2])}, "malformed TrainReport"),
    "a tensor for a report": ({TRAIN: lambda: state(5)}, "malformed TrainReport"),
    "counts below zero": (
        {EVALUATE: lambda: pack({**EVALUATED, "ham": {5: -3}})},
        "impossible counts",
    ),
    "a bin that is none": (
        {EVALUATE: lambda: pack({**EVALUATED, "spam": {BINS: 1}})},
        "impossible counts",
    ),
    "counts beyond belief": (
        {EVALUATE: lambda: pack({**EVALUATED, "ham": {0: 2**62}})},
        "impossible counts",
    ),
    "an infinite loss": (
        {EVALUATE: lambda: pack({**EVALUATED, "loss_sum": float("inf")})},
        "loss",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_what_cannot_be_true_ends_the_run_and_names_the_node(recipe: Recipe, name: str) -> None:
    lies, reason = LIES[name]
    answers = Answers(recipe, **{part: lie() for part, lie in lies.items()})
    error = train_with(answers, recipe)
    assert isinstance(error, NodeFailed)
    assert "mallory" in error.fact
    assert reason in str(error)


MISDEEDS: dict[str, tuple[Misdeed, type[FedsmsError], str]] = {
    "it hangs up": (hangs_up, NodeUnreachable, "out of luck"),
    "its line is cut": (cuts_the_line, NodeUnreachable, "broke without a goodbye"),
    "it sends text": (says_text, HandshakeRefused, "text message"),
    "it sends a request": (sends(Kind.REQUEST, b""), HandshakeRefused, "REQUEST"),
    "its error is none": (sends(Kind.ERROR, b"\xc1"), HandshakeRefused, "not msgpack"),
    "it cannot": (
        sends(Kind.ERROR, pack_error(NodeFailed("no memory", "the machine is full"))),
        NodeFailed,
        "no memory: the machine is full",
    ),
    "it calls the recipe wrong": (
        sends(Kind.ERROR, pack_error(UsageError("the recipe is not valid"))),
        UsageError,
        "the recipe is not valid",
    ),
}


@pytest.mark.parametrize("name", MISDEEDS)
@pytest.mark.parametrize("when", ["state", TRAIN, "object", EVALUATE])
def test_a_node_that_goes_wrong_ends_the_run_and_is_named(
    recipe: Recipe, name: str, when: str
) -> None:
    misdeed, kind, reason = MISDEEDS[name]
    error = train_with(Answers(recipe, **{when: misdeed}), recipe)
    assert type(error) is kind
    assert "mallory" in error.fact
    assert reason in str(error)


@pytest.mark.parametrize(
    ("event", "reason"),
    [(b"\xc1", "not msgpack"), (pack_map({"done": -1, "total": 0}), "malformed Progress")],
)
def test_an_event_that_is_no_progress_ends_the_run(
    recipe: Recipe, event: bytes, reason: str
) -> None:
    error = train_with(Answers(recipe, **{TRAIN: sends(Kind.EVENT, event)}), recipe)
    assert "mallory" in error.fact
    assert reason in str(error)


@pytest.mark.parametrize("when", ["state", "object"])
def test_a_node_that_never_takes_or_gives_a_state_is_given_up(recipe: Recipe, when: str) -> None:
    timeouts = Timeouts(transfer_timeout=0.3)
    error = train_with(Answers(recipe, **{when: None}), recipe, timeouts)
    assert isinstance(error, NodeTimeout)
    assert "mallory" in error.fact
    assert "no answer within 0.3 s" in error.fact


def test_one_bad_node_of_two_is_the_one_that_is_named(recipe: Recipe) -> None:
    async def session() -> None:
        bad = Answers(recipe, **{TRAIN: hangs_up})
        good = Answers(recipe, **{TRAIN: None})
        async with false_node(good, "anne") as one, false_node(bad, "mallory") as other:
            await train_on({"anne": one, "mallory": other}, recipe)

    with pytest.raises(NodeUnreachable, match="mallory"):
        asyncio.run(session())


def test_two_clients_of_one_id_each_keep_their_own_link(recipe: Recipe) -> None:
    async def session() -> None:
        async with false_node(Answers(recipe)) as one, false_node(Answers(recipe)) as other:
            links = [await dial(NodeAddress("mallory", url)) for url in (one, other)]
            clients = [NodeClient("mallory", link) for link in links]
            assert [client.link for client in clients] == links
            for client in clients:
                await client.link.close()

    asyncio.run(session())


def assert_as_sent(state: Vector, sent: Vector) -> None:
    """The same numbers: all but the smallest bit for bit, and those as the sum's grid has them."""
    assert np.array_equal(state[np.abs(sent) > 2**-13], sent[np.abs(sent) > 2**-13])
    np.testing.assert_allclose(state, sent, rtol=0, atol=2**-36)


def test_no_state_is_changed_by_what_a_node_sends_back(recipe: Recipe) -> None:
    before = initial_state(recipe, 1)

    async def session() -> Any:
        async with false_node(Answers(recipe)) as url:
            return await train_on({"mallory": url}, recipe)

    ended: Coroutine[Any, Any, Any] = session()
    assert_as_sent(asyncio.run(ended), before)


def test_a_node_that_claims_more_rows_than_it_greeted_with_is_named(recipe: Recipe) -> None:
    error = train_with(Answers(recipe, train=pack({**TRAINED, "rows": 1_000_000})), recipe)
    assert isinstance(error, NodeFailed)
    assert "mallory claims another weight" in str(error)


@pytest.mark.parametrize("name", ["a state that is not finite", "counts below zero"])
def test_a_bad_node_among_good_ones_is_left_out_and_named_and_harms_nothing(
    recipe: Recipe, name: str
) -> None:
    lies, reason = LIES[name]
    watcher = Watcher()

    async def session() -> Vector:
        bad = Answers(recipe, **{part: lie() for part, lie in lies.items()})
        async with (
            false_node(Answers(recipe), "anne") as one,
            false_node(bad, "mallory") as other,
        ):
            return await trained({"anne": one, "mallory": other}, recipe, watcher)

    state = asyncio.run(session())
    assert_as_sent(state, initial_state(recipe, 1))  # what anne gives back
    assert len(watcher.rounds) == recipe.federation.rounds
    rows = [row for record in watcher.rounds for row in record.rows()]
    told = [row["left_out"]["mallory"] for row in rows if row["node"] == "*"]
    assert told
    assert all(reason in why for why in told)


DEEP = b"\x91" * 1020 + b"\xa1x"
"""A text in lists in lists: msgpack reads it, and making words of it would recurse too deep."""


@pytest.mark.parametrize("asked", [TRAIN, EVALUATE])
def test_an_error_whose_words_are_no_text_costs_its_node_the_round_alone(
    recipe: Recipe, asked: str
) -> None:
    watcher = Watcher()

    async def answers_so(connection: ServerConnection, request: Frame) -> None:
        payload = b"\x82\xa4kind\xaaNodeFailed\xa4fact" + DEEP
        await connection.send(frame(Kind.ERROR, request.request_id, payload))

    async def session() -> None:
        async with (
            false_node(Answers(recipe), "anne") as one,
            false_node(Answers(recipe, **{asked: answers_so}), "mallory") as other,
        ):
            await trained({"anne": one, "mallory": other}, recipe, watcher)

    asyncio.run(session())
    assert len(watcher.rounds) == recipe.federation.rounds
    assert any("words are no text" in why for why in watcher.rounds[0].without.values())
