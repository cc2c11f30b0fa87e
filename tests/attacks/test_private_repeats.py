"""The same private question more than once, so that it would be answered with other noise."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from scripts.local.many_nodes import Served
from server.nodes.client import NodeClient, pack_state
from server.rounds.exchange import Exchange
from server.rounds.outgoing_state import OutgoingState
from server.rounds.plan import Plan
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.privacy.accountant import mu_of
from shared.wire.commands import EvaluateCommand, TrainCommand
from tests.attacks.test_private_runs import PRIVATE, bob, in_a_loop, refused, urls
from tests.attacks.test_secure_sums import Scene, federation, scene
from tests.helpers.federating import members_of, until
from tests.helpers.identities import Federation
from tests.helpers.secure_rounds import QUICK
from worker_node.guarding.policy import Policy
from worker_node.sessions.private_work import PrivateWork

pytestmark = pytest.mark.timeout(240)
__all__ = ["federation"]
Ask = Callable[[NodeClient, OutgoingState, int], Coroutine[Any, Any, bytes]]


def training(recipe: Recipe, base: OutgoingState, number: int = 1) -> TrainCommand:
    return Exchange(recipe, Plan(seed=1, run="a"), lambda *_: None).training(number, "bob", base)


async def a_round(client: NodeClient, base: OutgoingState, which: int) -> bytes:
    """Asked for with a seed of its own each time, which decides nothing of a private round."""
    command = training(PRIVATE, base).model_copy(update={"seed": which})
    await client.train_secretly(command, lambda _: None)
    return await client.fetch_masked(command.result_id)


async def an_evaluation(client: NodeClient, base: OutgoingState, which: int) -> bytes:
    command = EvaluateCommand(state_id=base.id, base_id=None, recipe=PRIVATE.to_json())
    return (await client.evaluate_secretly(command)).masked


@contextlib.asynccontextmanager
async def busy(one: Served) -> AsyncIterator[None]:
    """Its trainer does something else meanwhile."""
    async with one.node.trainer._turn:
        yield


@pytest.mark.parametrize("ask", [a_round, an_evaluation])
@in_a_loop
async def test_what_is_asked_for_twice_at_once_has_noise_once(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []
    for name in ("trained", "evaluated"):
        real = getattr(PrivateWork, name)

        async def counted(self: Any, *arguments: Any, real: Any = real) -> Any:
            begun.append(1)
            return await real(self, *arguments)

        monkeypatch.setattr(PrivateWork, name, counted)
    base = OutgoingState(initial_state(PRIVATE, 1))
    async with bob() as served, members_of(urls(served), QUICK) as members:
        client, releases = members.all[0].client, served["bob"].node.guard.releases
        await client.send_state(pack_state(base.state, None, base.id))
        async with busy(served["bob"]):
            asking = [asyncio.create_task(ask(client, base, which)) for which in range(3)]
            runs = releases.ledger.accounts.runs
            await until(lambda: len(begun) == 3 and any(one.charged for one in runs.values()), "it")
            await releases.look(lambda _: None)  # each has looked for what was told before
        told = await asyncio.gather(*asking)
    assert told[0] == told[1] == told[2]
    assert [(len(one.charged), len(one.answered)) for one in runs.values()] == [(1, 1)]


def test_a_share_of_the_noise_does_not_leave_without_its_masks(federation: Federation) -> None:
    """Trained for a sum, where others add the rest; then asked for in clear, and remembered."""
    trusting = {"differential_privacy": {"epsilon": 8.0, "honest_owners": 2}}

    async def work(attacked: Scene) -> None:
        await attacked.to_vectors()
        command = attacked.rounds._plain.training(1, "bob", attacked.base)
        with refused("differential_privacy.one_release"):
            await attacked.bob.client.train_secretly(command, lambda _: None)
        node = attacked.found.served["bob"].node
        spent, _ = node.guard.releases.ledger.accounts.spent("training")
        assert spent == pytest.approx(mu_of(8.0, 1e-5))

    async def run() -> None:
        policies = {"bob": Policy.model_validate(trusting)}
        async with scene(federation, PRIVATE, policies) as attacked:
            await work(attacked)

    asyncio.run(run())
