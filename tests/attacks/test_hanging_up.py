"""Nodes that hang up: for what was sent, which is a no, or again and again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.frames import CloseCode

from server.nodes import members, retry
from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from server.rounds.cohort import MinNodes
from shared.errors import FedsmsError, NodeFailed
from shared.model.recipe import Recipe
from shared.wire.commands import PROPOSE, TRAIN
from shared.wire.frames import Frame, Kind, frame
from tests.helpers.false_nodes import TRAINED, Answers, Counting, pack
from tests.helpers.federating import Watcher, of_rounds, trained, until
from tests.helpers.peers import false_node

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (CloseCode.MESSAGE_TOO_BIG, False),
        (CloseCode.PROTOCOL_ERROR, False),
        (CloseCode.INVALID_DATA, False),
        (CloseCode.UNSUPPORTED_DATA, False),
        (CloseCode.GOING_AWAY, True),
        (CloseCode.INTERNAL_ERROR, True),
    ],
)
def test_a_permanent_no_is_no_loss(recipe: Recipe, code: CloseCode, again: bool) -> None:
    async def hangs_up(connection: Any, request: Any) -> None:
        await connection.close(code, "no")

    async def session() -> FedsmsError:
        async with false_node(hangs_up) as url:
            link = await dial(NodeAddress("mallory", url))
            with pytest.raises(FedsmsError) as caught:
                await link.request(b"anything")
            await link.close()
            return caught.value

    found = asyncio.run(session())
    assert (retry.verdict(found) is retry.Retry.NOW) is again
    assert isinstance(found, NodeFailed) is not again


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1009])
def test_who_hangs_up_for_what_was_sent_is_out_of_the_round_and_asked_in_the_next(
    recipe: Recipe, code: int
) -> None:
    async def hangs_up(connection: Any, request: Any) -> None:
        await connection.close(code, "no")

    def is_back() -> int:
        return sum(text == "is back" for _, _, text in watcher.notices)

    async def trains_until_the_other_is_back(connection: Any, request: Frame) -> None:
        await until(lambda: is_back() >= anne.asked[TRAIN], "mallory to be back")
        await connection.send(frame(Kind.REPLY, request.request_id, pack(TRAINED)))

    anne = Counting(recipe, **{TRAIN: trains_until_the_other_is_back})
    mallory, watcher = Counting(recipe, **{TRAIN: hangs_up}), Watcher()

    async def session() -> None:
        async with false_node(anne, "anne") as good, false_node(mallory, "mallory") as bad:
            urls = {"anne": good, "mallory": bad}
            await trained(urls, of_rounds(recipe, 3), watcher, min_nodes=MinNodes(count=1))

    asyncio.run(session())
    assert [list(record.left_out) for record in watcher.rounds] == [["mallory"]] * 3
    assert mallory.asked[TRAIN] == 3  # once in each round
    assert mallory.asked[PROPOSE] == len(mallory.connections) == 4  # back in the last one too
    assert (anne.asked[TRAIN], anne.asked[PROPOSE]) == (3, 1)  # proposed once a connection


def test_a_relapse_backs_off(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes back each time and hangs up each time is waited for longer each time."""
    asked: list[int] = []
    real = retry.delays

    def delays(relapses: int = 0) -> Any:
        asked.append(relapses)
        return real(0)

    monkeypatch.setattr(members, "delays", delays)

    async def hangs_up(connection: Any, request: Any) -> None:
        await connection.close(CloseCode.GOING_AWAY, "again")

    watcher = Watcher()

    async def session() -> None:
        async with (
            false_node(Counting(recipe), "anne") as anne,
            false_node(Answers(recipe, **{TRAIN: hangs_up}), "mallory") as mallory,
        ):
            urls = {"anne": anne, "mallory": mallory}
            await trained(urls, of_rounds(recipe, 3), watcher, min_nodes=MinNodes(count=1))

    asyncio.run(session())
    assert asked == list(range(1, len(asked) + 1))
    assert len(asked) >= 3


def test_delays_after_relapses_double_up_to_a_minute() -> None:
    first = [next(retry.delays(relapses)) for relapses in range(40)]
    for relapses, delay in enumerate(first):
        longest = min(0.1 * 2**relapses, 60.0)
        assert longest / 2 <= delay <= longest
