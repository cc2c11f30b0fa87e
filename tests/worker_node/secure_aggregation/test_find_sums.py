"""From a policy and an identity folder to a node's terms, and what its owner is warned of."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from shared.errors import IdentityError, UsageError
from shared.identity.certificates import key_fingerprint
from shared.identity.folder import read_key
from shared.secure_aggregation.violation import Violation
from tests.helpers.identities import make_federation
from tests.helpers.secure_sums import context
from worker_node.guarding.policy import Policy
from worker_node.guarding.set_up import Guarding
from worker_node.membership.peers import add_peer
from worker_node.secure_aggregation.masked_rounds import RoundsOnDisk
from worker_node.secure_aggregation.set_up import find_sums
from worker_node.secure_aggregation.sums import SecureSums
from worker_node.secure_aggregation.terms import Terms

OTHERS = ("anne", "carol", "dora", "emil")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    federation = make_federation(tmp_path_factory.mktemp("finding"))
    found = {name: federation.node(name) for name in ("bob", *OTHERS)}
    for name in OTHERS:
        add_peer(found["bob"], name, fingerprint(found[name]))
    return found


def fingerprint(folder: Path) -> str:
    return key_fingerprint(read_key(folder).public_key())


def guarding(folder: Path | None, counts: Path | None = None, **policy: Any) -> Guarding:
    return Guarding(Policy.model_validate(policy), identity=folder, counts=counts)


def found(wanted: Guarding) -> SecureSums:
    sums = find_sums(wanted)
    assert sums is not None
    return sums


def test_terms_are_the_policys(folders: dict[str, Path]) -> None:
    said = {"fewest_owners": 5, "pinned": ["carol", "anne"], "fewest_pinned": 1, "dropouts": 0.2}
    sums = found(guarding(folders["bob"], secure_aggregation=said))
    pins = {one: fingerprint(folders[one]) for one in ("carol", "anne")}
    assert sums._terms == Terms(5, pins, 1, 0.2)
    assert found(guarding(folders["bob"]))._terms == Terms()


@pytest.mark.parametrize(
    ("honest", "fewest_owners", "fewest"), [(0, 3, 3), (2, 3, 3), (3, 3, 4), (4, 3, 5), (4, 9, 9)]
)
def test_a_sum_has_the_honest_owners_whose_noise_is_counted_on_and_this_one(
    folders: dict[str, Path], honest: int, fewest_owners: int, fewest: int
) -> None:
    policy: dict[str, Any] = {
        "differential_privacy": {"honest_owners": honest},
        "secure_aggregation": {"fewest_owners": fewest_owners},
    }
    assert found(guarding(folders["bob"], **policy))._terms.fewest_owners == fewest


def test_without_a_certificate_there_are_none_and_who_demands_them_is_told() -> None:
    assert find_sums(guarding(None)) is None
    with pytest.raises(UsageError, match="no certificate to sign with") as caught:
        find_sums(guarding(None, secure_aggregation={"required": True}))
    assert "init --id" in caught.value.next_step


def test_rounds_are_remembered_beside_the_counts_of_the_day(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    sums = found(guarding(folders["bob"], tmp_path / "bob.counts.json"))
    sums._rounds.claim(context(number=2))
    assert [one.name for one in tmp_path.iterdir()] == ["bob.counts.masked.json"]
    with pytest.raises(Violation):
        found(guarding(folders["bob"], tmp_path / "bob.counts.json"))._rounds.claim(context())
    in_memory = found(guarding(folders["bob"]))._rounds
    assert not isinstance(in_memory, RoundsOnDisk)
    in_memory.claim(context())


def test_certificate_and_key_are_read_for_each_sum_anew(tmp_path: Path) -> None:
    folder = make_federation(tmp_path).node("bob")
    sums = found(guarding(folder))
    asyncio.run(sums.keys("hospital", context(number=1)))
    (folder / "certificate.pem").unlink()
    with pytest.raises(IdentityError):
        asyncio.run(sums.keys("hospital", context(number=2)))


def test_keys_that_are_nobody_elses_are_pinned(folders: dict[str, Path]) -> None:
    bob = folders["bob"]
    add_peer(bob, "bob", fingerprint(bob))
    add_peer(bob, "anne-again", fingerprint(folders["anne"]))
    try:
        for pins, why in (
            (["anne", "bob"], "the policy pins bob.*this node's own key for it"),
            (["bob"], "this node's own key for it"),
            (["anne", "anne-again"], "the policy pins anne.*the same key for anne-again"),
        ):
            said = {"pinned": pins, "fewest_pinned": 1}
            with pytest.raises(UsageError, match=why):
                find_sums(guarding(bob, secure_aggregation=said))
        said = {"pinned": ["anne", "carol", "dora", "emil"], "fewest_pinned": 4}
        assert len(found(guarding(bob, secure_aggregation=said))._terms.pinned) == 4
    finally:
        for name in OTHERS:
            add_peer(bob, name, fingerprint(folders[name]))


def warnings(caplog: pytest.LogCaptureFixture, wanted: Guarding) -> set[str]:
    """What the owner is warned of, by a word of each warning."""
    words = {
        "two": "secure sums of two",
        "nobody": "no owner is pinned",
        "forgotten": "is forgotten when this node ends",
        "honest": "trusted to add noise",
    }
    caplog.clear()
    with caplog.at_level(logging.WARNING, "fedsms.node"):
        find_sums(wanted)
    said = [one.getMessage() for one in caplog.records]
    found_words = {name for name, text in words.items() if any(text in one for one in said)}
    assert len(said) == len(found_words)
    return found_words


def test_an_owner_who_demands_sums_is_warned_of_what_they_leave_open(
    folders: dict[str, Path], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def said(counts: Path | None = tmp_path / "counts.json", **terms: Any) -> set[str]:
        return warnings(caplog, guarding(folders["bob"], counts, secure_aggregation=terms))

    pinned: dict[str, Any] = {"pinned": ["anne"], "fewest_pinned": 1}
    assert said() == said(None) == said(fewest_owners=2) == set()
    assert said(required=True, **pinned) == set()
    assert said(required=True) == {"nobody"}
    assert said(required=True, pinned=["anne"]) == {"nobody"}
    for fewest, words in ((2, {"two"}), (3, set()), (4, set())):
        assert said(required=True, fewest_owners=fewest, **pinned) == words
    assert said(None, required=True, **pinned) == {"forgotten"}
    assert said(None, required=True, fewest_owners=2) == {"two", "nobody", "forgotten"}


@pytest.mark.parametrize(("honest", "fewest_pinned"), [(0, 0), (1, 0), (2, 1), (2, 2), (1, 2)])
def test_an_owner_who_counts_on_others_noise_is_warned_where_fewer_are_pinned(
    folders: dict[str, Path], caplog: pytest.LogCaptureFixture, honest: int, fewest_pinned: int
) -> None:
    policy: dict[str, Any] = {
        "differential_privacy": {"honest_owners": honest},
        "secure_aggregation": {"pinned": ["anne", "carol"], "fewest_pinned": fewest_pinned},
    }
    expected = {"honest"} if honest > fewest_pinned else set()
    assert warnings(caplog, guarding(folders["bob"], **policy)) == expected
