"""An owner's terms at their bounds: each is broken alone, by one owner more or fewer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from shared.secure_aggregation.roster import VerifiedRoster
from shared.secure_aggregation.violation import Violation
from tests.helpers.secure_sums import context
from worker_node.secure_aggregation.terms import Terms


@dataclass(frozen=True)
class Known:
    """An owner as terms see it."""

    fingerprint: str


def roster(*owners: str, threshold: int = 2, **keys: str) -> VerifiedRoster:
    peers: Mapping[str, Any] = {one: Known(keys.get(one, f"key of {one}")) for one in owners}
    found = VerifiedRoster(context(), peers, b"digest")
    found.threshold = threshold
    return found


TEN = [f"o{number}" for number in range(10)]


@contextmanager
def broken(rule: str, *words: str) -> Iterator[None]:
    with pytest.raises(Violation) as caught:
        yield
    assert caught.value.rule == rule
    for one in words:
        assert one in caught.value.why


@pytest.mark.parametrize("fewest", [2, 3, 10])
def test_as_many_owners_as_the_fewest_are_enough(fewest: int) -> None:
    terms = Terms(fewest_owners=fewest, dropouts=1.0)
    terms.check_roster(roster(*TEN[:fewest]))
    terms.check_present(TEN[:fewest], roster(*TEN))
    with broken("fewest_owners", f"{fewest - 1} owners", f"{fewest} are the fewest"):
        terms.check_present(TEN[: fewest - 1], roster(*TEN, threshold=0))
    with broken("fewest_owners"):
        terms.check_roster(roster(*TEN[: fewest - 1], threshold=0))


def test_what_an_owner_has_who_says_nothing() -> None:
    terms = Terms()
    assert (terms.fewest_owners, terms.fewest_pinned, terms.dropouts) == (3, 0, 0.33)
    assert terms.pinned == {}


@pytest.mark.parametrize(
    ("good", "wrong"),
    [
        ({"fewest_owners": 2}, {"fewest_owners": 1}),
        ({"fewest_pinned": 0}, {"fewest_pinned": -1}),
        ({"fewest_pinned": 2}, {"fewest_pinned": 3}),
        ({"dropouts": 0.0}, {"dropouts": -0.01}),
        ({"dropouts": 1.0}, {"dropouts": 1.01}),
    ],
)
def test_terms_have_bounds(good: dict[str, Any], wrong: dict[str, Any]) -> None:
    pinned = {"o1": "key of o1", "o2": "key of o2"}
    Terms(pinned=pinned, **good)
    with pytest.raises(ValueError, match=r"hides nobody|pinned|share"):
        Terms(pinned=pinned, **wrong)


def test_a_pinned_owner_has_its_key_and_others_may_have_any() -> None:
    terms = Terms(pinned={"o1": "key of o1", "absent": "any"})
    terms.check_roster(roster(*TEN))
    terms.check_roster(roster(*TEN, o2="another"))
    with broken("pinned", "o1"):
        terms.check_roster(roster(*TEN, o1="another"))


def test_as_many_pinned_owners_as_the_fewest_are_among_those_who_are_summed() -> None:
    pinned = {one: f"key of {one}" for one in ("o1", "o2", "o3")}
    terms = Terms(pinned=pinned, fewest_pinned=2, dropouts=1.0)
    everybody = roster(*TEN)
    terms.check_present(["o1", "o3", "o9"], everybody)
    with broken("pinned", "1 pinned owners", "2 are the fewest"):
        terms.check_present(["o1", "o8", "o9"], everybody)
    with broken("pinned", "0 pinned owners"):
        terms.check_roster(roster("o7", "o8", "o9"))
    Terms(pinned=pinned, dropouts=1.0).check_present(["o7", "o8", "o9"], everybody)


def test_as_many_as_can_open_it_are_there() -> None:
    terms = Terms(dropouts=1.0)
    terms.check_present(TEN[:7], roster(*TEN, threshold=7))
    with broken("threshold", "6 of 10 owners", "7 are needed"):
        terms.check_present(TEN[:6], roster(*TEN, threshold=7))


@pytest.mark.parametrize(("share", "may_go"), [(0.0, 0), (0.3, 3), (0.39, 3), (0.4, 4), (1.0, 7)])
def test_no_larger_share_is_lost(share: float, may_go: int) -> None:
    terms = Terms(dropouts=share)
    terms.check_present(TEN[may_go:], roster(*TEN))
    if share < 1:
        with broken("dropouts", f"{may_go + 1} of 10 owners are lost", f"a share of {share:g}"):
            terms.check_present(TEN[may_go + 1 :], roster(*TEN))
