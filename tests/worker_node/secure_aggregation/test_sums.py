"""A node's sums: what is remembered of them, for whom, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from server.secure_aggregation.aggregation import Aggregation
from shared.errors import PolicyRefused
from shared.secure_aggregation.kinds import Sum
from shared.secure_aggregation.messages import Context
from shared.wire.commands import SumStep, SumStepCommand
from tests.helpers.secure_sums import OPEN_TERMS, SIZE, context, names, signer, trust
from worker_node.secure_aggregation.masked_rounds import RoundsInMemory
from worker_node.secure_aggregation.sums import MAX_RUNS, SecureSums, SumId

PEER = "hospital"
VECTOR = np.arange(SIZE, dtype=np.uint64)


def sums_of(name: str) -> SecureSums:
    return SecureSums(lambda: signer(name), OPEN_TERMS, RoundsInMemory())


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def step(what: Context, name: SumStep, data: bytes) -> SumStepCommand:
    return SumStepCommand(run=what.run, round=what.round, sum=what.sum, step=name, data=data)


async def masked(owners: dict[str, SecureSums], what: Context) -> dict[str, bytes]:
    """Everybody's masked vector of one sum, over the nodes' own sums."""
    total = Aggregation(what, trust(), SIZE)
    for name, sums in owners.items():
        total.take_keys(name, await sums.keys(PEER, what))
    roster = total.make_roster()
    for name, sums in owners.items():
        total.take_dealt(name, await sums.step(PEER, step(what, "share", roster)))
    found = {}
    for name, sums in owners.items():
        await sums.step(PEER, step(what, "receive", total.make_delivery(name)))
        which = SumId(PEER, what.run, what.round, what.sum)
        found[name] = await sums.mask(which, VECTOR)
    return found


def held(sums: SecureSums) -> list[tuple[str, int, Sum]]:
    return [(run, *key) for (_, run), parts in sums._runs.items() for key in parts]


def test_one_masked_round_of_each_of_few_runs_is_remembered() -> None:
    async def scene() -> None:
        owners = {name: sums_of(name) for name in names(3)}
        for number in range(MAX_RUNS + 3):
            for round_number in (1, 2, 3):
                await masked(owners, context(run=f"run-{number}", number=round_number))
        last = [(f"run-{number}", 3, "training") for number in (MAX_RUNS + 1, MAX_RUNS + 2)]
        assert all(held(sums) == last for sums in owners.values())

    run(scene())


def test_a_masked_vector_is_answered_again_until_the_next_round_is_masked() -> None:
    async def scene() -> None:
        owners = {name: sums_of(name) for name in names(3)}
        first = await masked(owners, context(number=1))
        await owners["o00"].keys(PEER, context(number=2))  # as they travel ahead
        again = await owners["o00"].mask(SumId(PEER, "run-1", 1, "training"), VECTOR)
        assert again == first["o00"]
        await masked(owners, context(number=2))
        with pytest.raises(PolicyRefused) as refused:
            await owners["o00"].mask(SumId(PEER, "run-1", 1, "training"), VECTOR)
        assert refused.value.rule == "secure_aggregation.order"

    run(scene())


def test_no_coordinator_reaches_the_sums_of_another() -> None:
    async def scene() -> None:
        sums = sums_of("o00")
        before = await sums.keys(PEER, context())
        for number in range(MAX_RUNS + 1):  # nor makes them forgotten
            await sums.keys("mallory", context(run=f"run-{number}"))
        assert await sums.keys(PEER, context()) == before
        with pytest.raises(PolicyRefused):
            await sums.step("mallory", step(context(run="run-x"), "agree", b""))
        mine = await sums.keys(PEER, context())
        assert mine != await sums.keys("mallory", context())

    run(scene())


def test_a_sum_that_was_not_masked_begins_anew_for_another_state_and_else_not() -> None:
    async def scene() -> None:
        owners = {name: sums_of(name) for name in names(3)}
        before = await owners["o00"].keys(PEER, context(state=b"one"))
        assert await owners["o00"].keys(PEER, context(state=b"one")) == before
        assert await owners["o00"].keys(PEER, context(state=b"two")) != before
        await masked(owners, context(state=b"three"))
        with pytest.raises(PolicyRefused) as refused:
            await owners["o00"].keys(PEER, context(state=b"four"))
        assert refused.value.rule == "secure_aggregation.state"

    run(scene())


def test_keys_for_rounds_without_end_do_not_fill_the_memory() -> None:
    async def scene() -> None:
        sums = sums_of(names(3)[0])
        for numbers in (range(1, 9), range(50, 1, -1), range(1, 50, 3)):
            for number in numbers:
                await sums.keys(PEER, context(number=number))
                assert len(held(sums)) <= 3

    run(scene())


def test_rounds_beside_the_newest_are_remembered_and_no_others() -> None:
    async def scene() -> None:
        sums = sums_of("o00")
        for number, rounds in ((5, [5]), (6, [5, 6]), (7, [6, 7]), (5, [6, 5]), (9, [9])):
            await sums.keys(PEER, context(number=number))
            assert [one for _, one, _ in held(sums)] == rounds

    run(scene())
