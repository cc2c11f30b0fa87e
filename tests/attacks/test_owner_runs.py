"""A coordinator that wants more of an owner as a whole than the owner's budget gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from server.rounds.coordinator import Coordinator
from server.rounds.plan import Plan
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe, load_recipe
from shared.privacy.accountant import mu_of
from shared.privacy.private_sum import EXTRA, Scales
from tests.attacks.test_private_runs import asking, bob, in_a_loop, refused, urls, whole_run
from tests.helpers.federating import Watcher, members_of, of_rounds
from tests.helpers.identities import Federation, make_federation
from tests.helpers.secure_rounds import QUICK, federated
from worker_node.guarding.policy import Policy

pytestmark = pytest.mark.timeout(240)
OWNER = of_rounds(load_recipe("private-owner"), 2)
MESSAGES = of_rounds(load_recipe("private"), 2)
BUDGET = {"differential_privacy": {"epsilon": 8.0, "unit": "owner"}}


def with_privacy(**changes: Any) -> Recipe:
    return OWNER.model_copy(update={"privacy": OWNER.privacy.model_copy(update=changes)})


@in_a_loop
async def test_an_owner_is_told_of_within_the_budget_of_an_owner() -> None:
    watcher = Watcher()
    async with bob(BUDGET) as served:
        await whole_run(served, OWNER, watcher=watcher)
        accounts = served["bob"].node.guard.releases.ledger.accounts
        with refused("differential_privacy.epsilon"):
            await whole_run(served, OWNER, "b")
    assert watcher.rounds[-1].metrics.roc_auc is not None
    for unit in ("owner", "message"):  # what hides an owner hides each of the messages
        assert accounts.spent("training", unit)[0] == pytest.approx(mu_of(8.0, 1e-5))
        assert accounts.spent("held_out", unit)[0] == pytest.approx(mu_of(4.0, 1e-5))


@in_a_loop
async def test_a_recipe_that_counts_messages_is_refused_however_small_its_epsilon() -> None:
    little = MESSAGES.privacy.model_copy(update={"epsilon": 0.01, "held_out_epsilon": 0.01})
    recipe = MESSAGES.model_copy(update={"privacy": little})
    async with bob(BUDGET) as served, members_of(urls(served), QUICK) as members:
        coordinator = Coordinator(members, recipe, Plan(seed=1, run="a"))
        with refused("differential_privacy.unit"):
            await coordinator.run(initial_state(recipe, 1))
        members.all[0].wake()
        with refused("differential_privacy.unit"):
            await coordinator.evaluate(initial_state(recipe, 1))
        assert served["bob"].node.guard.releases.ledger.accounts.runs == {}


@in_a_loop
async def test_less_noise_is_more_epsilon_for_an_owner_too() -> None:
    for change in ({"epsilon": 8.1}, {"epsilon": 8.0, "delta": 1e-3}):
        async with bob(BUDGET) as served:
            with refused("differential_privacy.epsilon"):
                await whole_run(served, with_privacy(**change))


@in_a_loop
async def test_a_larger_clip_has_more_noise_whatever_is_proposed() -> None:
    """Beyond these bounds lies a share of 10^-12 of such noise."""
    for clip in (0.4, 40.0):
        recipe, told = with_privacy(owner_clip=clip), []
        state = initial_state(recipe, 1)
        for _ in range(2):
            async with bob(BUDGET) as served, asking(served, recipe) as ask:
                told.append(np.frombuffer(await ask(1, state), "<i8")[:-EXTRA])
        wanted = 2**0.5 * 2**0.5 / mu_of(8.0, 1e-5) * Scales.of(recipe).sensitivity
        assert (told[0] - told[1]).std() / wanted == pytest.approx(1, abs=0.04)


@in_a_loop
async def test_a_run_cannot_go_on_with_another_clip_or_unit() -> None:
    state = initial_state(OWNER, 1)
    async with bob({"differential_privacy": {"epsilon": 16.0}}) as served:
        async with asking(served, OWNER) as ask:
            await ask(1, state)
        for recipe in (with_privacy(owner_clip=4.0), MESSAGES):
            async with asking(served, recipe) as ask:
                with refused("differential_privacy.run"):
                    await ask(2, state)


@in_a_loop
async def test_the_same_again_has_the_same_bits_and_no_second_charge() -> None:
    state = initial_state(OWNER, 1)
    async with bob(BUDGET) as served:
        told = []
        for _ in range(3):
            async with asking(served, OWNER) as ask:
                told.append(await ask(1, state))
        runs = served["bob"].node.guard.releases.ledger.accounts.runs
        async with asking(served, OWNER) as ask:
            with refused("differential_privacy.one_release"):
                await ask(1, np.full(OWNER.parameters, 0.5, np.float32))
    assert told[0] == told[1] == told[2]
    assert [len(one.charged) for one in runs.values()] == [1]


@in_a_loop
async def test_what_was_told_of_messages_leaves_no_budget_for_an_owner() -> None:
    async with bob({}) as served:  # without a policy all is noted, and nothing bounded
        await whole_run(served, MESSAGES)
        ledger = served["bob"].node.guard.releases.ledger
        for part in ("training", "held_out"):
            assert ledger.accounts.spent(part, "owner")[0] == float("inf")
        served["bob"].node.guard.releases._terms = Policy.model_validate(
            BUDGET
        ).differential_privacy
        with refused("differential_privacy.unit"):
            await whole_run(served, OWNER, "b")


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return make_federation(tmp_path_factory.mktemp("owners"))


@in_a_loop
async def test_owners_share_the_noise_of_one_in_secure_sums(federation: Federation) -> None:
    names = ["anne", "bob", "carol"]
    terms = {"epsilon": 8.0, "unit": "owner", "honest_owners": 2}
    policies = dict.fromkeys(names, Policy.model_validate({"differential_privacy": terms}))
    watcher = Watcher()
    async with federated(federation, names, OWNER, policies) as found:
        await found.trained(watcher)
        ledgers = [one.node.guard.releases.ledger for one in found.served.values()]
    assert [one.summed_rows for one in watcher.rounds] == [3, 3]  # owners, and no rows
    assert watcher.rounds[-1].metrics.roc_auc is not None
    for ledger in ledgers:
        mu, alone = ledger.accounts.spent("training", "owner")
        assert mu == pytest.approx(mu_of(8.0, 1e-5))
        assert alone == pytest.approx(mu * 3**0.5)


@in_a_loop
async def test_fewer_owners_than_share_the_noise_are_not_summed(federation: Federation) -> None:
    names = ["anne", "bob", "carol"]
    terms = {"epsilon": 8.0, "unit": "owner", "honest_owners": 29}
    policies = {"bob": Policy.model_validate({"differential_privacy": terms})}
    async with federated(federation, names, OWNER, policies) as found:
        with refused("secure_aggregation.fewest_owners"):
            await found.trained()
