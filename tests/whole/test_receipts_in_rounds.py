"""Leak receipts of real rounds: plain, in a secure sum, with noise, and with both."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from server.rounds.coordinator import Coordinator
from server.rounds.plan import Plan
from shared.errors import PolicyRefused
from shared.model.classifier import initial_state
from shared.model.recipe import load_recipe
from tests.helpers.federating import members_of, of_rounds
from tests.helpers.identities import Federation, make_federation
from tests.helpers.secure_rounds import QUICK, Federated, federated
from worker_node.guarding.policy import Policy
from worker_node.privacy.receipts import Receipt

pytestmark = pytest.mark.timeout(240)
NAMES = ("anne", "bob", "carol")
TUTORIAL = of_rounds(load_recipe("tutorial"), 2)
PRIVATE = of_rounds(load_recipe("private"), 2)


def receipts_of(nodes: Federated, name: str = "bob") -> list[Receipt]:
    return nodes.served[name].node.guard.receipts.kept.newest


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return make_federation(tmp_path)


def test_plain_rounds_tell_and_masked_ones_do_not(federation: Federation) -> None:
    async def both() -> tuple[list[Receipt], list[Receipt]]:
        async with federated(federation, NAMES, TUTORIAL) as nodes:
            await nodes.trained(secure=False)
            plain = receipts_of(nodes)
            await replace(nodes, run="another").trained(secure=True)
            return plain, receipts_of(nodes)[len(plain) :]

    plain, masked = asyncio.run(both())
    assert [(one.round, one.rounds, one.leaves) for one in plain] == [
        (1, 2, "update"),
        (2, 2, "update"),
    ]
    assert not any(one.words.is_chance for one in plain)
    assert [(one.run, one.leaves) for one in masked] == [("another", "masked update")] * 2
    assert all(one.words.is_chance and one.messages.is_chance for one in masked)
    assert {one.coordinator for one in plain} == {"coordinator"}


@pytest.mark.parametrize("secure", [False, True])
def test_a_private_round_has_its_receipt_of_what_leaves(
    federation: Federation, secure: bool
) -> None:
    async def run() -> list[Receipt]:
        async with federated(federation, NAMES, PRIVATE) as nodes:
            await nodes.trained(secure=secure)
            return receipts_of(nodes)

    found = asyncio.run(run())
    assert [one.leaves for one in found] == ["masked noisy sum" if secure else "noisy sum"] * 2
    if secure:
        assert all(one.words.is_chance and one.messages.is_chance for one in found)


def test_an_update_that_tells_more_than_the_owner_allows_stays_and_a_masked_one_leaves(
    federation: Federation,
) -> None:
    strict = Policy.model_validate({"leak": {"most_words": 0.1}})

    async def run() -> tuple[PolicyRefused, list[Receipt]]:
        async with federated(federation, NAMES, TUTORIAL, {"bob": strict}) as nodes:
            urls = {"bob": nodes.urls["bob"]}
            async with members_of(urls, QUICK, None, nodes.coordinator) as members:
                leading = Coordinator(members, TUTORIAL, Plan(seed=1, run="plain"))
                with pytest.raises(PolicyRefused) as refused:
                    await leading.run(initial_state(TUTORIAL, 1))
            await replace(nodes, run="secure").trained(secure=True)
            return refused.value, receipts_of(nodes)

    error, found = asyncio.run(run())
    assert error.rule == "leak.most_words"
    assert error.exit_code == 10
    assert [(one.leaves, one.refused) for one in found] == [
        ("update", "most_words"),
        ("masked update", ""),
        ("masked update", ""),
    ]
