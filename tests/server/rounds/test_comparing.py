"""Comparisons over real sockets: secure sums beside plain ones, and nodes that tell nonsense."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.nodes.members import Members
from server.rounds.comparing import Comparing, gains_told
from server.rounds.comparison import Comparison, OwnerGains, comparison_from
from server.rounds.secure_sums import NoRosters
from server.runs.secure_choice import secure_from
from shared.errors import NodeFailed, PolicyRefused
from shared.model.classifier import initial_state
from shared.model.comparison import FIGURES, SCALE, Gain
from shared.model.recipe import Recipe
from shared.secure_aggregation.contents import decode_comparison, encode_comparison
from shared.wire.commands import COMPARE, CompareReport
from shared.wire.timeouts import Timeouts
from tests.helpers.false_nodes import Counting, pack, says_no
from tests.helpers.federating import Watcher, members_of
from tests.helpers.identities import Federation, make_federation
from tests.helpers.peers import false_node
from tests.helpers.secure_rounds import federated
from worker_node.guarding.policy import Policy

pytestmark = pytest.mark.timeout(120)
OWNERS = ["anne", "bob", "carol"]
TOLD = {
    "ham": {7: 3},
    "spam": {2000: 2},
    "loss_sum": 1.0,
    "alone_ham": {7: 1, 9: 2},
    "alone_spam": {1500: 2},
    "alone_loss_sum": 2.0,
    "bounds": {"mcc": (-20, 300)},
    "seconds_comparing": 0.1,
    "seconds_waiting": 0.0,
}


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return make_federation(tmp_path_factory.mktemp("federation"))


async def compared(
    members: Members, recipe: Recipe, coordinator: Path | None, watcher: Watcher | None = None
) -> Comparison:
    secure = secure_from(coordinator, NoRosters()) if coordinator is not None else None
    watchers = [watcher] if watcher is not None else []
    comparing = Comparing(members, recipe, 1, 2, watchers, secure)
    return await comparing.compare(initial_state(recipe, 7))


def test_secure_sums_tell_the_mean_owner_and_nobodys_own(
    federation: Federation, recipe: Recipe
) -> None:
    """The same owners twice: what the sum says is what their own figures say together."""

    async def both() -> tuple[Comparison, Comparison, Watcher]:
        watcher = Watcher()
        progress: list[Any] = []
        watcher.on_stage = lambda _, node, stage, one: progress.append((node, stage, one))
        async with federated(federation, OWNERS, recipe) as found, found.members() as members:
            plain = await compared(members, recipe, None)
            secure = await compared(members, recipe, found.coordinator, watcher)
        told = [one for _, stage, one in progress if stage == "comparing" and one is not None]
        assert all(one.loss is None for one in told)
        return plain, secure, watcher

    plain, secure, _ = asyncio.run(both())
    assert sorted(plain.owners) == OWNERS
    assert secure.owners == {}
    assert (plain.summed, secure.left_out) == (None, {})
    assert secure.summed is not None
    for name in FIGURES:
        expected, found = plain.mean(name), secure.mean(name)
        assert found.owners == expected.owners
        assert (found.better, found.worse) == (expected.better, expected.worse)
        for one, other in ((found.alone, expected.alone), (found.federated, expected.federated)):
            assert one == (None if other is None else pytest.approx(other, abs=1 / SCALE))
    for each in (plain, secure):
        assert comparison_from(each.as_dict()) == each


def test_an_owner_who_demands_sums_is_compared_in_no_other_way(
    federation: Federation, recipe: Recipe
) -> None:
    strict = Policy.model_validate({"secure_aggregation": {"required": True}})

    async def run() -> None:
        policies = dict.fromkeys(OWNERS, strict)
        async with federated(federation, OWNERS, recipe, policies) as found:
            with pytest.raises(PolicyRefused, match=r"secure_aggregation\.required"):
                async with found.members() as members:
                    await compared(members, recipe, None)
            async with found.members() as members:
                summed = await compared(members, recipe, found.coordinator)
                assert summed.mean("roc_auc").owners == len(OWNERS)

    asyncio.run(run())


def gains(**changed: Gain) -> dict[str, Gain]:
    return {**dict.fromkeys(FIGURES, Gain(0.5, 0.75, 0.1, 0.4)), **changed}


def test_a_sum_of_comparisons_is_read_back() -> None:
    one, other = gains(), gains(mcc=Gain(-0.5, -0.25, -0.3, -0.1), roc_auc=Gain(None, 0.5))
    found = decode_comparison(encode_comparison(one) + encode_comparison(other), 2)
    assert (found["mcc"].alone, found["mcc"].federated, found["mcc"].gain) == (0, 0.25, 0.25)
    assert (found["mcc"].owners, found["mcc"].better, found["mcc"].worse) == (2, 1, 1)
    assert (found["roc_auc"].owners, found["roc_auc"].alone) == (1, 0.5)
    nobody = decode_comparison(encode_comparison(gains(mcc=Gain(None, None))), 1)["mcc"]
    assert (nobody.owners, nobody.alone, nobody.gain) == (0, None, None)


@pytest.mark.parametrize("place", range(5))
def test_a_sum_that_no_honest_owners_have_is_no_comparison(place: int) -> None:
    for wrong in (3 * SCALE, 2**63):
        numbers = encode_comparison(gains())
        numbers[place] += type(numbers[0])(wrong)
        with pytest.raises(ValueError, match="the owners' sum of roc_auc is impossible"):
            decode_comparison(numbers, 1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"alone_ham": {7: 4}}, "impossible counts"),
        ({"alone_ham": {7: 2}, "alone_spam": {9: 3}}, "its two models saw different rows"),
        ({"ham": {-1: 3}}, "impossible counts"),
        ({"alone_loss_sum": 1e300}, "alone_loss_sum"),
        ({"bounds": {"mcc": (300, -20)}}, "an impossible interval: of mcc"),
        ({"bounds": {"mcc": (0, 90_000)}}, "bounds"),
        ({"bounds": {"<script>": (0, 1)}}, "bounds"),
        ({"seconds_comparing": 1e6}, "impossible seconds"),
        ({"more": 1}, "more"),
    ],
)
def test_a_node_that_tells_nonsense_is_named_and_the_others_are_compared(
    recipe: Recipe, changed: dict[str, Any], said: str
) -> None:
    async def run() -> Comparison:
        anne = Counting(recipe, **{COMPARE: pack(TOLD)})
        mallory = Counting(recipe, **{COMPARE: pack({**TOLD, **changed})})
        async with false_node(anne, "anne") as one, false_node(mallory, "mallory") as other:
            urls = {"anne": one, "mallory": other}
            async with members_of(urls, Timeouts(rejoin_window=0.2)) as members:
                return await compared(members, recipe, None)

    found = asyncio.run(run())
    assert list(found.owners) == ["anne"]
    assert found.owners["anne"].rows == 5
    assert found.owners["anne"].figures["mcc"] == Gain(1.0, 1.0, -0.002, 0.03)
    assert "mallory" in found.left_out["mallory"]
    assert said in found.left_out["mallory"]


def test_a_no_of_every_owner_is_the_policys(recipe: Recipe) -> None:
    async def run() -> None:
        mallory = Counting(recipe, **{COMPARE: says_no})
        async with (
            false_node(mallory, "mallory") as url,
            members_of({"mallory": url}, Timeouts()) as members,
        ):
            await compared(members, recipe, None)

    with pytest.raises(PolicyRefused, match="it is night"):
        asyncio.run(run())


def test_an_interval_of_a_figure_that_is_not_there_is_no_interval() -> None:
    told = CompareReport.model_validate(TOLD)
    only_ham: dict[str, dict[int, int]] = {"spam": {}, "alone_spam": {}}
    with pytest.raises(NodeFailed, match="impossible interval"):
        gains_told("mallory", told.model_copy(update=only_ham), 3)
    assert gains_told("anne", told, 5).rows == 5


def test_the_worst_off_may_be_another_owner_alone_than_together() -> None:
    owners = {
        "anne": OwnerGains(9, gains(mcc=Gain(0.2, 0.9))),
        "bob": OwnerGains(9, gains(mcc=Gain(0.8, 0.6))),
        "carol": OwnerGains(9, gains(mcc=Gain(None, 0.1))),
    }
    found = Comparison(3, owners)
    assert found.worst("mcc") == Gain(0.2, 0.6)
    assert found.mean("mcc").owners == 2
    assert replace(found, owners={}).worst("mcc") == Gain(None, None)
