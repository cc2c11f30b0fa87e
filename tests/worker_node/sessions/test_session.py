"""One connection to a node: what a hostile or clumsy coordinator gets, and that the node goes on.

The node is a real one, in a process of its own.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from websockets.exceptions import ConnectionClosed

from scripts.local.nodes import LocalNode
from shared.errors import NodeFailed
from shared.model.recipe import Recipe
from shared.model.vectors import new_object_id
from shared.pysyft import (
    ForceObjectDeleteMessage,
    GetShapeMessage,
    IsNoneMessage,
    ObjectMessage,
    ObjectRequestMessage,
    SearchMessage,
    TensorCommandMessage,
    WorkerCommandMessage,
)
from shared.wire.commands import EVALUATE, TRAIN
from shared.wire.frames import Kind, frame, new_request_id, pack_map, unpack_error, unpack_map
from shared.wire.handshake import Greeting
from tests.helpers.node_requests import (
    command,
    error,
    pack,
    reply,
    run,
    send_state,
    tensor,
    training,
)
from tests.helpers.peers import Peer, coordinator, stranger

MAX_OBJECTS = 8
MAX_SESSIONS_OF_ONE = 8
pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("still_serves")]


async def closing_code(peer: Peer) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        await peer.receive()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


# Before the handshake


def hello(**changed: Any) -> bytes:
    greeting = Greeting(role="coordinator", id="a-test").to_map()
    return frame(Kind.HELLO, new_request_id(), pack_map({**greeting, **changed}))


@pytest.mark.parametrize(
    "opening",
    [
        pytest.param("a text message", id="text"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00" * 17, id="zeros"),
        pytest.param(b"\xff" * 40, id="ones"),
        pytest.param(frame(Kind.REQUEST, new_request_id(), b"\x80"), id="a request"),
        pytest.param(frame(Kind.EVENT, new_request_id(), b"\x80"), id="an event"),
        pytest.param(frame(Kind.HELLO, new_request_id(), b""), id="empty"),
        pytest.param(frame(Kind.HELLO, new_request_id(), b"\x80"), id="an empty map"),
        pytest.param(frame(Kind.HELLO, new_request_id(), b"\x91" * 200_000), id="nested"),
        pytest.param(
            frame(Kind.HELLO, new_request_id(), pack_map({"id": bytes(2**21)})), id="large"
        ),
        pytest.param(hello(id=None), id="nobody"),
        pytest.param(hello(versions={"fedsms": 1}), id="a version that is a number"),
        pytest.param(hello(id="a\nb"), id="two lines"),
        pytest.param(hello(expects="\udcff".encode("utf-8", "surrogatepass")), id="no UTF-8"),
    ],
)
def test_who_does_not_shake_hands_is_sent_away(bob: LocalNode, opening: bytes | str) -> None:
    async def session() -> None:
        async with stranger(bob.url) as peer:
            await peer.connection.send(opening)
            too_big = len(opening) > 2**16
            assert await closing_code(peer) == (1009 if too_big else 1002)

    run(session())


def test_a_request_before_the_handshake_is_not_done(bob: LocalNode) -> None:
    async def session() -> None:
        async with stranger(bob.url) as peer:
            await peer.send(Kind.REQUEST, pack(ObjectMessage(tensor([1.0]))))
            assert await closing_code(peer) == 1002

    run(session())


def test_a_coordinator_that_does_not_fit_is_told_why_and_sent_away(bob: LocalNode) -> None:
    async def session() -> None:
        async with stranger(bob.url) as peer:
            ours = Greeting(role="coordinator", id="a-test", expects="anne", protocol=99)
            refusal = await peer.greet(ours)
            assert refusal.kind is Kind.REFUSED
            why = unpack_error(unpack_map(refusal.payload)["error"])
            assert "node id" in why.cause
            assert "protocol" in why.cause
            assert await closing_code(peer) == 1008

    run(session())


# After it


@pytest.mark.parametrize("kind", [Kind.HELLO, Kind.REFUSED, Kind.REPLY, Kind.ERROR, Kind.EVENT])
def test_a_frame_that_is_no_coordinators_ends_the_session(bob: LocalNode, kind: Kind) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as peer:
            await peer.send(kind, pack_map({}))
            assert await closing_code(peer) == 1002

    run(session())


REFUSED: dict[str, Callable[[], bytes]] = {
    "no bytes": lambda: b"",
    "zeros": lambda: bytes(100),
    "garbage": lambda: random.Random(1).randbytes(1000),
    "a deep message": lambda: b"\x28" + b"\x91" * 100_000,
    "search": lambda: pack(SearchMessage(["#spam"])),
    "a tensor command": lambda: pack(
        TensorCommandMessage.computation("__add__", tensor([1.0]), (tensor([2.0]),), {}, [3])
    ),
    "shape": lambda: pack(GetShapeMessage(1)),
    "is none": lambda: pack(IsNoneMessage(1)),
    "an object that is no tensor": lambda: pack(ObjectMessage({"rows": [1, 2]})),
    "an object that is a string": lambda: pack(ObjectMessage("all of them")),
    "an object that is nothing": lambda: pack(ObjectMessage(None)),
    "a request for a list": lambda: pack(ObjectRequestMessage([1, 2], None, "")),  # type: ignore[arg-type]
    "a request for nothing": lambda: pack(ObjectRequestMessage(None, None, "")),  # type: ignore[arg-type]
    "a request for a tensor": lambda: pack(ObjectRequestMessage(tensor([1.0]), None, "")),
    "an unknown object": lambda: pack(ObjectRequestMessage(12345, None, "")),
    "the shard by its name": lambda: pack(ObjectRequestMessage("shard", None, "")),
    "deleting a list": lambda: pack(ForceObjectDeleteMessage([1])),  # type: ignore[arg-type]
    "a command without parts": lambda: pack(WorkerCommandMessage(TRAIN, None)),  # type: ignore[arg-type]
    "a command with two parts": lambda: pack(WorkerCommandMessage(TRAIN, ((), {}))),
    "a command with a list": lambda: pack(WorkerCommandMessage(TRAIN, ((), [1, 2], []))),
    "a command with numbers as names": lambda: pack(WorkerCommandMessage(TRAIN, ((), {1: 2}, []))),
    "a command named by a tensor": lambda: pack(WorkerCommandMessage(tensor([1.0]), ((), {}, []))),
    "a command named by nothing": lambda: pack(WorkerCommandMessage(None, ((), {}, []))),  # type: ignore[arg-type]
    "an empty command": lambda: command(TRAIN),
    "an evaluation of nothing": lambda: command(EVALUATE),
    **{
        name: (lambda name=name: command(name, obj_id=1))  # type: ignore[misc]
        for name in (
            "__getattribute__",
            "search",
            "clear_objects",
            "_objects",
            "shard",
            "greeting",
            "set_obj",
            "x" * 5000,
        )
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_node_does_not_do_is_refused_and_the_session_goes_on(
    bob: LocalNode, name: str
) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as peer:
            why = error(await peer.ask(REFUSED[name]()))
            assert isinstance(why, NodeFailed)
            assert "Traceback" not in str(why)
            assert len(str(why)) < 1000
            sent = tensor([1.0, 2.0])
            assert (await peer.ask(pack(ObjectMessage(sent)))).kind is Kind.REPLY
            back = reply(await peer.ask(pack(ObjectRequestMessage(sent.id, None, ""))))
            assert back.tolist() == [1.0, 2.0]

    run(session())


DEEP = "[" * 30_000
BAD_TRAINING: dict[str, tuple[dict[str, Any], str]] = {
    "a state that was not sent": ({"state_id": 7}, "not sent"),
    "a recipe that is no JSON": ({"recipe": "{"}, "not JSON"),
    "a recipe nested too deep": ({"recipe": DEEP}, "recipe"),
    "a recipe that is a list": ({"recipe": "[]"}, "recipe"),
    "a recipe with an unknown key": ({"recipe": '{"model": {"hiden": 3}}'}, "hidden"),
    "a recipe with NaN": ({"recipe": '{"training": {"learning_rate": NaN}}'}, "learning_rate"),
    "a recipe too long": ({"recipe": " " * 70_000}, "recipe"),
    "a model too large": ({"recipe": '{"model": {"embedding": 4096}, "text": '
                           '{"buckets": 4194304}}'}, "parameters"),
    "a batch too large": ({"recipe": '{"training": {"batch_size": 4096}, "text": '
                           '{"tokens": 1000}, "model": {"hidden": 1024}}'}, "batch"),
    "another model than the state's": ({"recipe": '{"model": {"hidden": 11}}'}, "could not do it"),
    "a seed below 0": ({"seed": -1}, "seed"),
    "a seed that is NaN": ({"seed": float("nan")}, "seed"),
    "a seed that is too large": ({"seed": 2**63}, "seed"),
    "a seed in words": ({"seed": "1"}, "seed"),
    "a round of 0": ({"round": 0}, "round"),
    "a round beyond counting": ({"round": 2**64}, "round"),
    "a fact nobody knows": ({"shell": "ls"}, "shell"),
    "a result called by a word": ({"result_id": "mine"}, "result_id"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_TRAINING)
def test_a_training_that_cannot_be_is_refused_with_its_reason(
    bob: LocalNode, recipe: Recipe, name: str
) -> None:
    changed, reason = BAD_TRAINING[name]

    async def session() -> None:
        async with coordinator(bob.url) as peer:
            state_id = await send_state(peer, recipe)
            why = error(await peer.ask(command(TRAIN, **{**training(recipe, state_id), **changed})))
            assert reason in str(why)
            assert len(str(why)) < 1000

    run(session())


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (torch.zeros(3), "could not do it"),
        (torch.zeros(0), "could not do it"),
        (torch.zeros(3, 3), "flat float32"),
        (torch.zeros(3, dtype=torch.float64), "flat float32"),
        (torch.zeros(50, dtype=torch.uint8), "patch"),
        (torch.tensor(1.0), "flat float32"),
        (torch.full((4391,), float("nan")), "finite"),
    ],
    ids=["short", "empty", "square", "double", "patch of nothing", "a number", "NaN"],
)
def test_a_state_that_is_none_is_refused(
    bob: LocalNode, recipe: Recipe, values: Any, reason: str
) -> None:
    assert recipe.parameters == 4391

    async def session() -> None:
        async with coordinator(bob.url) as peer:
            values.id = new_object_id()
            await peer.ask(pack(ObjectMessage(values)))
            why = error(await peer.ask(command(TRAIN, **training(recipe, values.id))))
            assert reason in str(why)

    run(session())


def test_a_patch_of_another_size_is_refused(bob: LocalNode, recipe: Recipe) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as peer:
            base_id = await send_state(peer, recipe)
            for size in (0, 1, 548, 550, 100_000):
                patch = tensor([0] * size).to(torch.uint8)
                patch.id = new_object_id()
                await peer.ask(pack(ObjectMessage(patch)))
                wanted = {"state_id": patch.id, "base_id": base_id, "recipe": recipe.to_json()}
                assert "patch" in str(error(await peer.ask(command(EVALUATE, **wanted))))
                await peer.ask(pack(ForceObjectDeleteMessage(patch.id)))

    run(session())


def test_the_objects_of_one_session_are_out_of_reach_of_another(bob: LocalNode) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as one, coordinator(bob.url) as other:
            mine = tensor([1.0])
            await one.ask(pack(ObjectMessage(mine)))
            assert "no such object" in str(
                error(await other.ask(pack(ObjectRequestMessage(mine.id, None, ""))))
            )
            await other.ask(pack(ForceObjectDeleteMessage(mine.id)))
            got = reply(await one.ask(pack(ObjectRequestMessage(mine.id, None, ""))))
            assert got.tolist() == [1.0]

    run(session())


def test_a_session_keeps_so_many_objects_and_no_more(bob: LocalNode, recipe: Recipe) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as peer:
            state_id = await send_state(peer, recipe)
            for _ in range(MAX_OBJECTS - 1):
                assert (await peer.ask(pack(ObjectMessage(tensor([1.0]))))).kind is Kind.REPLY
            refused = (
                pack(ObjectMessage(tensor([1.0]))),
                command(TRAIN, **training(recipe, state_id)),
            )
            for request in refused:
                assert f"at most {MAX_OBJECTS} objects" in str(error(await peer.ask(request)))
            await peer.ask(pack(ForceObjectDeleteMessage(state_id)))
            assert (await peer.ask(pack(ObjectMessage(tensor([1.0]))))).kind is Kind.REPLY

    run(session())


def test_a_result_can_be_fetched_once(bob: LocalNode, recipe: Recipe) -> None:
    async def session() -> None:
        async with coordinator(bob.url) as peer:
            wanted = training(recipe, await send_state(peer, recipe))
            reply(await peer.ask(command(TRAIN, **wanted)))
            fetch = pack(ObjectRequestMessage(wanted["result_id"], None, ""))
            reply(await peer.ask(fetch))
            assert "no such object" in str(error(await peer.ask(fetch)))

    run(session())


def test_every_mangled_request_is_answered(bob: LocalNode, recipe: Recipe) -> None:
    rng = random.Random(7)
    good = [
        command(TRAIN, **training(recipe, 1)),
        command(EVALUATE, state_id=1, base_id=None, recipe=recipe.to_json()),
        pack(ObjectMessage(tensor([1.0, 2.0], 5))),
        pack(ObjectRequestMessage(5, None, "")),
        pack(ForceObjectDeleteMessage(6)),
    ]

    async def session() -> None:
        async with coordinator(bob.url) as peer:
            for _ in range(400):
                mangled = bytearray(rng.choice(good))
                for _ in range(rng.randint(1, 3)):
                    mangled[rng.randrange(len(mangled))] = rng.randrange(256)
                answer = await peer.ask(bytes(mangled[: rng.choice((None, len(mangled) // 2))]))
                assert answer.kind in (Kind.REPLY, Kind.ERROR)

    run(session())


def test_a_node_takes_so_many_sessions_of_one_peer_and_then_more_again(bob: LocalNode) -> None:
    async def crowd() -> None:
        async with contextlib.AsyncExitStack() as open_sessions:
            for _ in range(MAX_SESSIONS_OF_ONE):
                await open_sessions.enter_async_context(coordinator(bob.url))
            async with stranger(bob.url) as late:
                assert await closing_code(late) == 1013

    run(crowd())
