"""When a sum takes a vector, of what, what is sent where there is none, and what is forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from server.secure_aggregation.aggregation import Aggregation
from shared.errors import PolicyRefused
from shared.secure_aggregation import sealed_shares
from shared.secure_aggregation.canonical import digest
from shared.secure_aggregation.messages import Context, Masked
from shared.secure_aggregation.violation import Violation
from tests.helpers.secure_sums import OPEN_TERMS, SIZE, context, names, signer, trust
from tests.worker_node.secure_aggregation.test_sums import PEER, VECTOR, masked, step, sums_of
from worker_node.secure_aggregation.masked_rounds import RoundsInMemory
from worker_node.secure_aggregation.refusing import refusing
from worker_node.secure_aggregation.sums import SecureSums, SumId

WHICH = SumId(PEER, "run-1", 1, "training")


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def which(what: Context) -> SumId:
    return SumId(PEER, what.run, what.round, what.sum)


def facts(**changed: Any) -> dict[str, Any]:
    good = context()
    return {"rounds": good.rounds, "recipe": good.recipe, "state": good.state, **changed}


def refused_by(rule: str) -> Any:
    return pytest.raises(PolicyRefused, match=f"rule secure_aggregation.{rule}\\b")


def test_a_vector_is_of_just_what_the_keys_are_for() -> None:
    async def scene() -> None:
        owners = {name: sums_of(name) for name in names(2)}
        await masked(owners, context())
        ours = owners["o00"]
        ours.require_ready(WHICH, facts())
        ours.require_ready(WHICH, {})
        ours.require_ready(WHICH, {"rounds": context().rounds, "other": 1})
        for name, value in (
            ("rounds", 8),
            ("recipe", sha256(b"x").digest()),
            ("state", sha256(b"x").digest()),
        ):
            with refused_by(name):
                ours.require_ready(WHICH, facts(**{name: value}))
            with refused_by(name):
                ours.require_ready(WHICH, {name: value})
        for strange in (
            WHICH._replace(run="run-2"),
            WHICH._replace(round=2),
            WHICH._replace(sum="evaluation"),
            WHICH._replace(peer="clinic"),
        ):
            with refused_by("order"):
                ours.require_ready(strange, facts())

    run(scene())


def test_nobody_masks_before_shares_have_come() -> None:
    async def scene() -> None:
        ours = sums_of("o00")
        await ours.keys(PEER, context())
        with refused_by("order"):
            ours.require_ready(WHICH, facts())
        with refused_by("state"):  # what is wrong anyway is told first
            ours.require_ready(WHICH, facts(state=bytes(32)))

    run(scene())


@pytest.mark.parametrize(
    ("name", "changed"), [("rounds", {"rounds": 8}), ("recipe", {"recipe": b"another"})]
)
def test_once_numbers_have_left_keys_are_given_for_the_same_alone(
    name: str, changed: dict[str, Any]
) -> None:
    async def scene() -> None:
        owners = {one: sums_of(one) for one in names(2)}
        ours = owners["o00"]
        await masked(owners, context())
        again = await ours.keys(PEER, context())
        with refused_by(name):
            await ours.keys(PEER, context(**changed))
        assert await ours.keys(PEER, context()) == again

    run(scene())


def test_what_stands_for_numbers_that_are_not_there_is_noise_and_the_same_again() -> None:
    async def scene() -> None:
        ours = sums_of("o00")
        for number in (1, 2):
            await ours.keys(PEER, context(number=number))
        found = ours.spoiled(WHICH, 4000)
        assert found.shape == (4000,)
        assert found.dtype == np.dtype(np.uint64)
        assert np.array_equal(found, ours.spoiled(WHICH, 4000))
        assert np.array_equal(found[:10], ours.spoiled(WHICH, 10))
        for other in (ours.spoiled(WHICH._replace(round=2), 4000), np.zeros(4000, np.uint64)):
            assert not (found == other).any()
        # of 64 bits each, about half are set at every place
        bits = np.unpackbits(found.view(np.uint8)).reshape(4000, 64).mean(axis=0)
        assert np.abs(bits - 0.5).max() < 6 * 0.5 / 4000**0.5

    run(scene())


def test_two_nodes_and_two_sums_draw_their_noise_from_secrets_of_32_bytes() -> None:
    async def scene() -> None:
        ours, theirs = sums_of("o00"), sums_of("o01")
        for one in (ours, theirs):
            for number in (1, 2):
                await one.keys(PEER, context(number=number))
        drawn = [
            one._part(WHICH._replace(round=number)).spoiling
            for one in (ours, theirs)
            for number in (1, 2)
        ]
        assert len(set(drawn)) == 4
        assert {len(one) for one in drawn} == {32}

    run(scene())


def test_a_vector_that_is_masked_is_not_changed_and_leaves_for_what_was_measured() -> None:
    async def scene() -> None:
        owners = {name: sums_of(name) for name in names(2)}
        what = context(which="evaluation")
        await masked(owners, what)
        vector = VECTOR.copy()
        measured = sha256(b"measured").digest()
        later = context(which="evaluation", number=2)
        found = await masked_of(owners, later, vector, measured)
        assert np.array_equal(vector, VECTOR)
        roster = owners["o00"]._part(which(later)).owner._known_roster()
        expected = roster.masking(tuple(names(2)), measured)
        for name, data in found.items():
            sent = Masked.unpack(data, Masked.max_bytes + 8 * SIZE)
            assert (sent.owner, sent.masking) == (name, expected)
            assert sent.numbers != VECTOR.astype("<u8").tobytes()

    run(scene())


async def masked_of(
    owners: dict[str, SecureSums], what: Context, vector: Any, measured: bytes
) -> dict[str, bytes]:
    total = Aggregation(what, trust(), SIZE)
    for name, sums in owners.items():
        total.take_keys(name, await sums.keys(PEER, what))
    roster = total.make_roster()
    for name, sums in owners.items():
        total.take_dealt(name, await sums.step(PEER, step(what, "share", roster)))
    for name, sums in owners.items():
        assert await sums.step(PEER, step(what, "receive", total.make_delivery(name))) == b""
    return {name: await sums.mask(which(what), vector, measured) for name, sums in owners.items()}


def test_every_step_is_answered_by_the_owner_and_the_sum_is_opened() -> None:
    async def scene() -> None:
        owners = {name: sums_of(name) for name in names(3)}
        what = context()
        total = Aggregation(what, trust(), SIZE)
        for name, sums in owners.items():
            total.take_keys(name, await sums.keys(PEER, what))
        roster = total.make_roster()
        for name, sums in owners.items():
            total.take_dealt(name, await sums.step(PEER, step(what, "share", roster)))
        for name, sums in owners.items():
            await sums.step(PEER, step(what, "receive", total.make_delivery(name)))
            total.take_masked(name, await sums.mask(which(what), VECTOR))
        proposal = total.make_proposal()
        for name, sums in owners.items():
            total.take_statement(name, await sums.step(PEER, step(what, "agree", proposal)))
        agreement = total.make_agreement()
        for name, sums in owners.items():
            total.take_opening(name, await sums.step(PEER, step(what, "open", agreement)))
        assert total.result().tolist() == (3 * VECTOR).tolist()

    run(scene())


def test_shares_that_cannot_be_read_are_told_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    honest = sealed_shares.seal

    def seal(shares: Any, common: bytes, roster: bytes, dealer: str, holder: str) -> Any:
        made = honest(shares, common, roster, dealer, holder)
        is_bad = (dealer, holder) == ("o02", "o00")
        return made.model_copy(update={"sealed": bytes(82)}) if is_bad else made

    async def said() -> None:
        caplog.clear()
        with caplog.at_level(logging.WARNING, "fedsms.node"):
            await masked({name: sums_of(name) for name in names(3)}, context())

    run(said())
    assert caplog.records == []
    monkeypatch.setattr("worker_node.secure_aggregation.owner.seal", seal)
    run(said())
    assert [one.getMessage() for one in caplog.records] == [
        "unreadable shares in a secure sum: o02"
    ]


def test_steps_of_one_sum_wait_for_each_other_and_other_sums_for_nobody() -> None:
    async def scene() -> None:
        ours = sums_of("o00")
        for number in (1, 2):
            await ours.keys(PEER, context(number=number))
        first, second = (ours._part(WHICH._replace(round=number)) for number in (1, 2))
        async with first.lock:
            waiting = asyncio.create_task(ours.step(PEER, step(context(), "agree", b"")))
            masking = asyncio.create_task(ours.mask(WHICH, VECTOR))
            with refused_by("order"):  # which did not wait
                await ours.step(PEER, step(context(number=2), "agree", b""))
            assert not second.lock.locked()
            assert not waiting.done()
            assert not masking.done()
        for one in (waiting, masking):
            with refused_by("order"):
                await one

    run(scene())


def test_what_was_masked_before_is_asked_of_the_rounds_that_were_given() -> None:
    async def scene() -> None:
        rounds = RoundsInMemory()
        owners = {name: SecureSums(partial(signer, name), OPEN_TERMS, rounds) for name in names(2)}
        with refused_by("one_roster"):  # the other one's claim of the same round came first
            await masked(owners, context())
        assert rounds.last == {("run-1", "training"): 1}

    run(scene())


def test_evaluation_and_training_of_a_round_are_two_sums_and_both_are_kept() -> None:
    async def scene() -> None:
        owners = {name: sums_of(name) for name in names(2)}
        first = await masked(owners, context())
        second = await masked(owners, context(which="evaluation"))
        ours = owners["o00"]
        assert await ours.mask(WHICH, VECTOR) == first["o00"]
        assert await ours.mask(WHICH._replace(sum="evaluation"), VECTOR) == second["o00"]
        assert digest(first["o00"]) != digest(second["o00"])

    run(scene())


def test_a_violation_is_the_owners_refusal_and_says_what_was_broken() -> None:
    with pytest.raises(PolicyRefused) as caught, refusing():
        raise Violation("one_set", "there were two")
    assert caught.value.rule == "secure_aggregation.one_set"
    assert "(rule secure_aggregation.one_set)" in caught.value.fact
    assert caught.value.cause == "there were two"
    assert "docs/privacy.md" in caught.value.next_step
    with refusing():
        pass
    with pytest.raises(ZeroDivisionError), refusing():
        raise ZeroDivisionError
