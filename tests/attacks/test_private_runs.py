"""A coordinator that wants more than an owner's privacy budget gives, against real nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.local.many_nodes import Served, nodes_of
from server.nodes.client import pack_state
from server.rounds.coordinator import Coordinator
from server.rounds.exchange import Exchange
from server.rounds.node_part import NodePart
from server.rounds.outgoing_state import OutgoingState
from server.rounds.plan import Plan
from server.rounds.secure_exchange import SecureExchange
from shared.errors import FedsmsError, PolicyRefused
from shared.identity.folder import read_key
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe, load_recipe
from shared.privacy.accountant import mu_of
from shared.privacy.private_sum import EXTRA, Scales
from shared.wire.commands import EvaluateCommand
from tests.helpers.federating import Watcher, members_of, of_rounds
from tests.helpers.identities import Federation, make_federation
from tests.helpers.secure_rounds import QUICK, federated, shards
from worker_node.audit.lines import Entry
from worker_node.guarding.policy import Policy
from worker_node.guarding.set_up import Guarding, _open_ledger
from worker_node.privacy.accounts import Run, Terms
from worker_node.privacy.ledger import LEDGER, Ledger

pytestmark = pytest.mark.timeout(240)
PRIVATE = of_rounds(load_recipe("private"), 2)
BUDGET = {"differential_privacy": {"epsilon": 8.0}}


@asynccontextmanager
async def bob(policy: dict[str, Any] = BUDGET) -> AsyncIterator[dict[str, Served]]:
    async with nodes_of(shards(["bob"]), None, {"bob": Policy.model_validate(policy)}) as served:
        yield served


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a coroutine, with a loop of its own."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures))

    return run


def urls(served: dict[str, Served]) -> dict[str, str]:
    return {name: one.url for name, one in served.items()}


async def whole_run(
    served: dict[str, Served], recipe: Recipe, run: str = "a", watcher: Watcher | None = None
) -> None:
    async with members_of(urls(served), QUICK) as members:
        watching = [watcher] if watcher is not None else []
        coordinator = Coordinator(members, recipe, Plan(seed=1, run=run), watching)
        await coordinator.run(initial_state(recipe, 1))


@asynccontextmanager
async def asking(served: dict[str, Served], recipe: Recipe, run: str = "a") -> AsyncIterator[Any]:
    """How to ask bob for a round, with a state of one's own; gives his numbers."""
    async with members_of(urls(served), QUICK) as members:
        plain = Exchange(recipe, Plan(seed=1, run=run), lambda *_: None)
        exchange = SecureExchange(plain, recipe, Plan(seed=1, run=run), secure=False)
        (member,) = members.all

        async def ask(number: int, state: np.ndarray) -> bytes:
            member.wake()  # who refused before
            base, part = OutgoingState(state), NodePart("bob")
            await plain.hold(number, member, base)
            return await exchange.train(number, member, part, base)

        yield ask


def refused(rule: str) -> Any:
    return pytest.raises(PolicyRefused, check=lambda error: error.rule == rule)


@in_a_loop
async def test_a_private_run_trains_and_measures_with_noise_alone() -> None:
    watcher = Watcher()
    async with bob() as served:
        await whole_run(served, PRIVATE, watcher=watcher)
        greeting = served["bob"].node.greeting()
        spent = served["bob"].node.guard.releases.ledger.accounts.spent("training")
    assert (greeting.rows, greeting.labels, greeting.rows_mark) == ({}, None, "")
    first, last = watcher.rounds
    assert (first.metrics.rows, last.metrics.roc_auc is not None) == (0, True)
    assert [(one.rows, one.loss, one.metrics) for one in last.nodes] == [(None, None, None)]
    assert any("held-out counts have noise" in text for _, _, text in watcher.notices)
    assert spent[0] == pytest.approx(mu_of(8.0, 1e-5))


@in_a_loop
async def test_with_a_budget_nothing_leaves_without_noise() -> None:
    async with bob() as served, members_of(urls(served), QUICK) as members:
        plain = load_recipe("tutorial")
        state = initial_state(plain, 1)
        coordinator = Coordinator(members, plain, Plan(seed=1, run="a"))
        with refused("differential_privacy.epsilon"):
            await coordinator.run(state)
        members.all[0].wake()
        with refused("differential_privacy.epsilon"):
            await coordinator.evaluate(state)
    policy = Policy.model_validate(BUDGET | {"modes": ["train", "pointers"]})
    for mode in ("pointers", "compare"):  # a private recipe's too: what they tell has no noise
        with refused("differential_privacy.epsilon"):
            policy.check_private(mode, PRIVATE.privacy)


@in_a_loop
async def test_a_second_run_that_does_not_fit_is_refused_and_learns_no_more() -> None:
    async with bob() as served:
        await whole_run(served, PRIVATE, "a")
        with refused("differential_privacy.epsilon") as caught:
            await whole_run(served, PRIVATE, "b")
        assert "8 in total, and this does not fit into what is left" in str(caught.value)


@in_a_loop
async def test_less_noise_is_more_epsilon_and_so_is_refused() -> None:
    for change in ({"epsilon": 8.1}, {"epsilon": 8.0, "delta": 1e-3}):
        privacy = PRIVATE.privacy.model_copy(update=change)
        async with bob() as served:
            with refused("differential_privacy.epsilon"):
                await whole_run(served, PRIVATE.model_copy(update={"privacy": privacy}))


@in_a_loop
async def test_noise_cannot_be_averaged_out_over_repeats() -> None:
    state = initial_state(PRIVATE, 1)
    async with bob() as served:
        told = []
        for _ in range(3):  # a connection each, and each request another id
            async with asking(served, PRIVATE) as ask:
                told.append(await ask(1, state))
        assert told[0] == told[1] == told[2]
        lines = served["bob"].node.guard.releases.ledger.accounts.runs
    assert [len(one.charged) for one in lines.values()] == [1]


@in_a_loop
async def test_sizes_on_the_wire_do_not_depend_on_the_rows() -> None:
    state = initial_state(PRIVATE, 1)
    sizes = {}
    async with nodes_of(shards(["anne", "bob"])) as served:  # of 40 messages, and of 47
        for name in served:
            one = {name: served[name]}
            lines: list[Entry] = []
            served[name].node.guard.on_record = lines.append
            async with asking(one, PRIVATE) as ask:
                await ask(1, state)
            async with asking(one, PRIVATE, "b") as ask, members_of(urls(one), QUICK) as members:
                client, base = members.all[0].client, OutgoingState(state)
                await client.send_state(pack_state(base.state, None, base.id))
                wanted = EvaluateCommand(state_id=base.id, base_id=None, recipe=PRIVATE.to_json())
                await client.evaluate_secretly(wanted)
            told = [(line.what, line.bytes_out) for line in lines if line.decision == "allowed"]
            sizes[name] = [one for one in told if one[0] != "handshake"]
    assert sizes["anne"] == sizes["bob"]
    assert {"train", "fetch", "evaluate"} <= {what for what, _ in sizes["bob"]}


@in_a_loop
async def test_a_repeat_after_the_result_was_forgotten_gets_the_same_bits() -> None:
    state = initial_state(PRIVATE, 1)
    async with bob() as served, asking(served, PRIVATE) as ask:
        first = await ask(1, state)
        node = served["bob"].node
        for training in list(node.trainings._known.values()):
            node.trainings._forget(training)
        assert await ask(1, state) == first


@in_a_loop
async def test_a_round_is_told_from_one_state() -> None:
    async with bob() as served, asking(served, PRIVATE) as ask:
        await ask(1, initial_state(PRIVATE, 1))
        with refused("differential_privacy.one_release"):
            await ask(1, np.full(PRIVATE.parameters, 0.5, np.float32))


@in_a_loop
async def test_a_state_that_is_none_is_no_question() -> None:
    async with bob() as served, asking(served, PRIVATE) as ask:
        for state in (np.full(PRIVATE.parameters, np.nan, np.float32), np.zeros(3, np.float32)):
            with pytest.raises(FedsmsError, match="not one of the recipe's model"):
                await ask(1, state)
        assert served["bob"].node.guard.releases.ledger.accounts.runs == {}


@in_a_loop
async def test_the_noise_is_no_function_of_the_coordinators_seed() -> None:
    state, told = initial_state(PRIVATE, 1), []
    for _ in range(2):
        async with bob() as served, asking(served, PRIVATE) as ask:
            told.append(np.frombuffer(await ask(1, state), "<i8")[:-EXTRA])
    difference = told[0] - told[1]
    multiplier = 2**0.5 / mu_of(8.0, 1e-5)
    # twice the variance of one; a share of 10^-12 of such noise lies beyond these bounds
    wanted = 2**0.5 * multiplier * Scales.of(PRIVATE).sensitivity
    assert difference.std() / wanted == pytest.approx(1, abs=0.04)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return make_federation(tmp_path_factory.mktemp("private"))


@in_a_loop
async def test_shared_noise_is_as_much_as_the_owners_trust_each_other_for(
    federation: Federation,
) -> None:
    """Three owners that trust two others add a third of the variance each."""
    names = ["anne", "bob", "carol"]
    trusting = {"differential_privacy": {"epsilon": 8.0, "honest_owners": 2}}
    policies = dict.fromkeys(names, Policy.model_validate(trusting))
    watcher = Watcher()
    async with federated(federation, names, PRIVATE, policies) as found:
        await found.trained(watcher)
        ledgers = [one.node.guard.releases.ledger for one in found.served.values()]
    assert watcher.rounds[-1].metrics.roc_auc is not None
    for ledger in ledgers:
        mu, alone = ledger.accounts.spent("training")
        assert mu == pytest.approx(mu_of(8.0, 1e-5))
        assert alone == pytest.approx(mu * 3**0.5)


@in_a_loop
async def test_fewer_owners_than_share_the_noise_are_not_summed(federation: Federation) -> None:
    names = ["anne", "bob", "carol"]
    trusting = {"differential_privacy": {"epsilon": 8.0, "honest_owners": 3}}
    policies = {"bob": Policy.model_validate(trusting)}
    async with federated(federation, names, PRIVATE, policies) as found:
        with refused("secure_aggregation.fewest_owners"):
            await found.trained()


def test_a_ledger_is_not_begun_anew_by_a_flag(tmp_path: Path) -> None:
    """--audit-log or --counts elsewhere, beside an identity whose ledger has told something."""
    folder = make_federation(tmp_path).node("bob")
    key = read_key(folder)
    Ledger(folder / LEDGER, key).close()  # of a node that told nothing yet
    elsewhere = Guarding(
        Policy.model_validate(BUDGET), None, None, tmp_path / "x.counts.json", folder
    )
    _open_ledger(elsewhere).close()
    (tmp_path / "x.privacy.jsonl").unlink()
    (tmp_path / "x.privacy.jsonl.anchor").unlink()
    ledger = Ledger(folder / LEDGER, key)
    ledger.charge(Run("hospital", "r", "training"), 1, "x", Terms(2, "d", 0.5, 0.5), None)
    ledger.close()
    with pytest.raises(FedsmsError, match="would begin another at"):
        _open_ledger(elsewhere)
    for name in (LEDGER, f"{LEDGER}.anchor"):
        (folder / name).rename(tmp_path / f"x.{name}")
    moved = _open_ledger(elsewhere)
    assert moved.accounts.spent("training") == (0.5, 0.5)
    moved.close()


def test_a_budget_without_a_place_to_count_does_not_serve(tmp_path: Path) -> None:
    with pytest.raises(FedsmsError, match="no place to keep count"):
        _open_ledger(Guarding(Policy.model_validate(BUDGET)))
