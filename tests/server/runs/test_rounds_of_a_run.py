"""Which rounds a run goes through, from which state, and with what: over sockets to nodes here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection

from server.aggregation.server_optimizer import make_server_optimizer
from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from server.nodes.members import Members
from server.rounds.records import Proceed
from server.runs.resume import StoppedRun
from server.runs.rounds_of_a_run import RoundsOfARun
from server.runs.settings import RunSettings
from shared.errors import FedsmsError, PolicyRefused
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe, load_recipe
from shared.model.vectors import Vector
from shared.pysyft import deserialize, make_hook
from shared.wire.frames import Frame, Kind, frame
from tests.helpers.false_nodes import TRAINED, Answers, pack, says_no
from tests.helpers.federating import Watcher, of_rounds
from tests.helpers.peers import false_node
from tests.helpers.pointers import write_recipe

pytestmark = pytest.mark.timeout(60)
SEED = 5


@dataclass
class Ran:
    """What a run told, and the first state that its node was sent."""

    watcher: Watcher = field(default_factory=Watcher)
    sent: list[Vector] = field(default_factory=list)

    @property
    def numbers(self) -> list[int]:
        return [one.number for one in self.watcher.rounds]

    async def takes(self, connection: ServerConnection, request: Frame) -> None:
        message: Any = deserialize(bytes(request.payload), make_hook().local_worker)
        self.sent.append(np.array(message.object.tolist(), np.float32))
        await connection.send(frame(Kind.REPLY, request.request_id, pack(None)))


def ran(
    recipe: Recipe,
    stopped: Any = None,
    proceed: Proceed | None = None,
    mode: Any = "rounds",
    **answers: Any,
) -> Ran:
    found = Ran()

    async def session() -> None:
        async with false_node(Answers(recipe, state=found.takes, **answers)) as url:
            node = NodeAddress("mallory", url)
            link = await dial(node)
            try:
                await RoundsOfARun(
                    RunSettings(nodes=(node,), recipe=recipe, seed=SEED, mode=mode),
                    Members.standing({"mallory": link}),
                    "a-run",
                    stopped,
                    [found.watcher],
                    make_server_optimizer(recipe.federation),
                    None,
                    proceed,
                    None,
                ).run_them()
            finally:
                await link.close()

    asyncio.run(session())
    return found


def stopped_after(completed: int, state: Vector | None) -> StoppedRun:
    """A run's, as far as its rounds are concerned."""
    found: Any = SimpleNamespace(completed=completed, state=state)
    return found  # type: ignore[no-any-return]


@pytest.fixture
def three(recipe: Recipe) -> Recipe:
    return of_rounds(recipe, 3)


def test_a_new_run_begins_with_the_state_of_its_seed(three: Recipe) -> None:
    found = ran(three)
    assert found.numbers == [1, 2, 3]
    assert np.array_equal(found.sent[0], initial_state(three, SEED))


def test_a_stopped_run_goes_on_with_the_round_and_the_state_after_its_last(three: Recipe) -> None:
    kept = initial_state(three, SEED + 1)
    found = ran(three, stopped_after(1, kept))
    assert found.numbers == [2, 3]
    assert np.array_equal(found.sent[0], kept)


def test_a_run_that_was_stopped_before_any_round_begins_anew(three: Recipe) -> None:
    found = ran(three, stopped_after(0, None))
    assert found.numbers == [1, 2, 3]
    assert np.array_equal(found.sent[0], initial_state(three, SEED))


def test_of_a_run_that_is_over_nothing_is_done(three: Recipe) -> None:
    found = ran(three, stopped_after(3, initial_state(three, SEED)))
    assert (found.numbers, found.sent) == ([], [])


def test_a_run_ends_where_whoever_steers_it_says_so(three: Recipe) -> None:
    async def after_two(record: Any) -> bool:
        return bool(record.number < 2)

    assert ran(three, proceed=after_two).numbers == [1, 2]


def test_only_a_run_that_goes_on_takes_what_a_node_did_for_a_coordinator_before(
    three: Recipe,
) -> None:
    """A node answers from memory then, and tells more seconds than anybody waited here."""
    replies: list[float] = []

    async def tells(connection: ServerConnection, request: Frame) -> None:
        payload = pack({**TRAINED, "seconds_training": replies.pop(0)})
        await connection.send(frame(Kind.REPLY, request.request_id, payload))

    replies[:] = 1e6, 0.0, 0.0
    assert ran(three, stopped_after(0, None), train=tells).numbers == [1, 2, 3]
    replies[:] = 1e6, 0.0, 0.0
    with pytest.raises(FedsmsError, match="mallory"):
        ran(three, train=tells)


def test_through_pointers_a_node_is_asked_for_a_session_and_not_for_a_training(
    tmp_path: Path,
) -> None:
    recipe, asked = load_recipe(write_recipe(tmp_path)), list[Kind]()

    async def refuses(connection: ServerConnection, request: Frame) -> None:
        asked.append(request.kind)
        await says_no(connection, request)

    with pytest.raises(PolicyRefused, match="does not allow this"):
        ran(recipe, mode="pointers", open_pointers=refuses)
    assert asked == [Kind.REQUEST]
