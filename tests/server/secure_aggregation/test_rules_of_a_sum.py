"""What a coordinator takes in a secure sum: each rule is broken by one thing alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from server.secure_aggregation import aggregation as module
from server.secure_aggregation.aggregation import Aggregation
from server.secure_aggregation.dealt_shares import read_dealt
from shared.errors import NodeFailed, QuorumLost
from shared.secure_aggregation import sealed_shares
from shared.secure_aggregation.canonical import digest
from shared.secure_aggregation.merkle import root_and_paths
from shared.secure_aggregation.messages import (
    Agreement,
    Dealing,
    Dealt,
    Keys,
    Masked,
    Opening,
    Proposal,
    Roster,
    Statement,
)
from shared.secure_aggregation.roster import VerifiedRoster, threshold
from shared.secure_aggregation.sealed_shares import Shares
from shared.secure_aggregation.shamir import split
from shared.secure_aggregation.violation import Violation
from tests.helpers.secure_sums import (
    SIZE,
    SecureSum,
    context,
    names,
    owner,
    secure_sum,
    signer,
    trust,
)


def broken(rule: str, why: str = "") -> Any:
    return pytest.raises(NodeFailed, match=rf"\(rule {rule}\).*{why}")


def lost(why: str) -> Any:
    return pytest.raises(QuorumLost, match=f"the secure training sum of round 1 is lost.*{why}")


def finishes(everybody: SecureSum) -> None:
    assert everybody.result().tolist() == everybody.plain().tolist()


def keys_with(node: str, **changed: bytes) -> bytes:
    """A node's good keys, but for what is changed."""
    good = Keys.read_signed(owner(node).keys())[0]
    return good.model_copy(update=changed).sign(signer(node).key)


@pytest.mark.parametrize("which", ["mask_key", "share_key"])
@pytest.mark.parametrize("taken", ["mask_key", "share_key"])
def test_a_public_key_stands_in_a_sum_once(which: str, taken: str) -> None:
    everybody = secure_sum(names(3))
    theirs = getattr(Keys.read_signed(everybody.owners["o00"].keys())[0], taken)
    everybody.coordinator.take_keys("o00", everybody.owners["o00"].keys())
    with broken("fresh_keys"):
        everybody.coordinator.take_keys("o01", keys_with("o01", **{which: theirs}))
    finishes(everybody)


def test_a_node_may_send_its_keys_again_and_the_last_ones_count() -> None:
    everybody = secure_sum(names(3))
    for again in (everybody.owners["o00"], owner("o00"), everybody.owners["o00"]):
        everybody.coordinator.take_keys("o00", again.keys())
    finishes(everybody)


def test_keys_are_sent_by_whom_they_are_of() -> None:
    everybody = secure_sum(names(3))
    with broken("roster", "speaks for somebody else"):
        everybody.coordinator.take_keys("o01", everybody.owners["o00"].keys())
    finishes(everybody)


def test_a_sum_has_so_many_owners_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_OWNERS", 3)
    everybody = secure_sum(names(3))
    for one in names(3):
        everybody.coordinator.take_keys(one, everybody.owners[one].keys())
    with broken("most_owners", "3 owners at most"):
        everybody.coordinator.take_keys("o03", owner("o03").keys())
    everybody.coordinator.take_keys("o02", everybody.owners["o02"].keys())  # who is in it
    finishes(everybody)


def test_nobody_is_added_once_there_is_a_roster() -> None:
    everybody = secure_sum(names(3))
    everybody.to_roster()
    with broken("order"):
        everybody.coordinator.take_keys("o03", owner("o03").keys())
    finishes(everybody)


def test_a_roster_is_of_two_at_least_and_made_once() -> None:
    coordinator = Aggregation(context(), trust(), SIZE)
    assert not coordinator.has_roster
    with lost("0 owners sent keys, and 2 are needed"):
        coordinator.make_roster()
    coordinator.take_keys("o00", owner("o00").keys())
    for ask in (coordinator.make_roster, lambda: coordinator.roster, lambda: coordinator.threshold):
        with lost("1 owners sent keys, and 2 are needed"):
            ask()
    coordinator.take_keys("o01", owner("o01").keys())
    assert not coordinator.has_roster
    packed = coordinator.make_roster()
    assert coordinator.has_roster
    assert coordinator.make_roster() == packed
    assert coordinator.threshold == 2
    read = [Keys.read_signed(one)[0].owner for one in Roster.unpack(packed).keys]
    assert read == ["o00", "o01"]
    assert coordinator.roster.digest == digest(packed)


def test_a_roster_that_was_kept_is_looked_at_again() -> None:
    packed = secure_sum(names(3)).to_roster()
    other = Aggregation(context(number=2), trust(), SIZE)
    with pytest.raises(Violation):
        other.restore_roster(packed)
    assert not other.has_roster
    again = Aggregation(context(), trust(), SIZE)
    again.restore_roster(packed)
    assert again.has_roster
    assert again.make_roster() == packed
    assert list(again.roster.peers) == names(3)


def test_who_has_dealt_is_told_and_nobody_after_that_is_in_it() -> None:
    everybody = secure_sum(names(4))
    coordinator, roster = everybody.coordinator, everybody.to_roster()
    dealt = {one: who.share(roster) for one, who in everybody.owners.items()}
    assert list(coordinator.dealers) == []
    for one in ("o02", "o00"):
        coordinator.take_dealt(one, dealt[one])
    assert list(coordinator.dealers) == ["o00", "o02"]
    assert [one for one in names(4) if coordinator.has_dealt(one)] == ["o00", "o02"]
    with lost("2 owners dealt shares, and 3 are needed"):
        coordinator.make_delivery("o00")
    coordinator.take_dealt("o01", dealt["o01"])
    with broken("order"):
        coordinator.take_masked("o00", b"")
    for one in names(3):
        everybody.owners[one].receive(coordinator.make_delivery(one))
    with broken("order"):
        coordinator.take_dealt("o03", dealt["o03"])
    assert list(coordinator.dealers) == ["o00", "o01", "o02"]
    assert not coordinator.has_dealt("o03")


def test_shares_are_dealt_by_who_is_in_the_roster() -> None:
    everybody = secure_sum(names(3))
    roster = everybody.to_roster()
    for stranger in ("o03", "nobody"):
        with broken("roster", "not of this sum"):
            everybody.coordinator.take_dealt(stranger, everybody.owners["o00"].share(roster))
    finishes(everybody)


def masked_by(everybody: SecureSum, one: str) -> bytes:
    return everybody.owners[one].mask(everybody.vectors[one])


def test_a_vector_is_its_senders_of_this_sum_and_of_its_size() -> None:
    everybody = secure_sum(names(4), lost={"o03": "share"})
    coordinator = everybody.coordinator
    everybody.to_delivery()
    good = Masked.unpack(masked_by(everybody, "o01"), coordinator.max_masked_bytes)
    with broken("shares", "dealt no shares"):
        coordinator.take_masked("o03", good.pack())
    with broken("roster", "somebody else"):
        coordinator.take_masked("o00", good.pack())
    with broken("masking"):
        coordinator.take_masked("o01", good.model_copy(update={"masking": bytes(32)}).pack())
    for length in (0, 8 * SIZE - 8, 8 * SIZE - 1):
        with broken("malformed", "not one of 7 numbers"):
            short = good.model_copy(update={"numbers": good.numbers[:length]})
            coordinator.take_masked("o01", short.pack())
    with broken("malformed"):
        longer = good.model_copy(update={"numbers": good.numbers + bytes(8)})
        coordinator.take_masked("o01", longer.pack())
    finishes(everybody)


def test_the_largest_vector_is_the_one_of_this_sum() -> None:
    one = Aggregation(context(), trust(), SIZE).max_masked_bytes
    assert Aggregation(context(), trust(), SIZE + 1000).max_masked_bytes == one + 8000
    assert Aggregation(context(), trust(), 0).max_masked_bytes == Masked.max_bytes


def test_nothing_is_added_once_a_set_was_proposed() -> None:
    everybody = secure_sum(names(4))
    coordinator = everybody.coordinator
    everybody.to_delivery()
    vectors = {one: masked_by(everybody, one) for one in names(4)}
    for number, one in enumerate(names(3)):
        if number < 3:
            with lost(f"{number} owners sent a vector, and 3 are needed"):
                coordinator.make_proposal()
        coordinator.take_masked(one, vectors[one])
    found = Proposal.unpack(coordinator.make_proposal())
    assert (found.survivors, found.lost) == (tuple(names(3)), ("o03",))
    assert found.masking == coordinator.masking
    before = coordinator._total.tolist()
    with broken("order"):
        coordinator.take_masked("o03", vectors["o03"])
    assert coordinator._total.tolist() == before
    assert coordinator.make_proposal() == found.pack()


def test_a_statement_is_its_senders_and_of_the_one_set() -> None:
    everybody = secure_sum(names(4), lost={"o03": "mask"})
    coordinator = everybody.coordinator
    with broken("order"):
        coordinator.take_statement("o00", b"")
    proposal = everybody.to_proposal()
    good = everybody.owners["o00"].agree(proposal)
    with broken("survivors"):
        coordinator.take_statement("o03", good)
    with broken("signature"):
        coordinator.take_statement("o01", good)
    of_another = Statement(proposal=Proposal.unpack(proposal).digest(), owner="o01")
    with broken("roster", "somebody else"):
        coordinator.take_statement("o00", of_another.sign(signer("o00").key))
    with broken("one_set"):
        false = Statement(proposal=bytes(32), owner="o00").sign(signer("o00").key)
        coordinator.take_statement("o00", false)
    for number, one in enumerate(("o00", "o01", "o02")):
        with lost(f"{number} owners agreed on whom to open, and 3 are needed"):
            coordinator.make_agreement()
        coordinator.take_statement(one, everybody.owners[one].agree(proposal))
    packed = coordinator.make_agreement()
    signed = [Statement.read_signed(one)[0].owner for one in Agreement.unpack(packed).statements]
    assert signed == ["o00", "o01", "o02"]
    with broken("order"):
        coordinator.take_statement("o00", good)
    assert coordinator.make_agreement() == packed


def test_an_opening_is_its_senders_and_as_many_as_are_needed_open_it() -> None:
    everybody = secure_sum(names(5), lost={"o04": "mask"})
    coordinator = everybody.coordinator
    assert not coordinator.is_open
    with lost("nobody has opened anything"):
        coordinator.result()
    everybody.to_proposal()
    with broken("order"):
        coordinator.take_opening("o00", b"")
    agreement = everybody.to_agreement()
    openings = {one: everybody.owners[one].open(agreement) for one in names(4)}
    with broken("survivors"):
        coordinator.take_opening("o04", openings["o00"])
    with broken("roster", "somebody else"):
        coordinator.take_opening("o01", openings["o00"])
    assert threshold(5) == 4
    for number, one in enumerate(names(4)):
        assert not coordinator.is_open
        with lost(f"o00: {number} shares of 4"):
            coordinator.result()
        assert coordinator.faulty == dict.fromkeys(names(5), f"{number} shares of 4")
        coordinator._opened.faulty.clear()  # type: ignore[union-attr]  # asked too early
        coordinator.faulty.clear()
        coordinator.take_opening(one, openings[one])
    assert coordinator.is_open
    assert coordinator.result().tolist() == everybody.plain().tolist()


def test_a_sum_is_open_once_enough_shares_of_every_dealer_have_come() -> None:
    """A holder who could not read a dealer's shares opens those of the others alone."""
    everybody = secure_sum(names(4))
    coordinator, agreement = everybody.coordinator, everybody.to_agreement()
    openings = {one: Opening.unpack(everybody.owners[one].open(agreement)) for one in names(4)}
    lacking = openings["o00"].model_copy(update={"shares": openings["o00"].shares[:-1]})
    coordinator.take_opening("o00", lacking.pack())
    for one in ("o01", "o02", "o03"):
        assert not coordinator.is_open
        coordinator.take_opening(one, openings[one].pack())
    assert coordinator.is_open
    assert coordinator.result().tolist() == everybody.plain().tolist()


@pytest.mark.parametrize("false", ["o02", "o03"], ids=["a seed", "a lost one's key"])
def test_a_dealer_of_a_number_that_is_no_secret_is_named(
    monkeypatch: pytest.MonkeyPatch, false: str
) -> None:
    """Its shares are of one polynomial, well sealed, whose value is above all secrets."""
    everybody = secure_sum(names(4), lost={"o03": "mask"})
    honest = sealed_shares.deal

    def deal(seed: bytes, key: bytes, need: int, count: int) -> list[Shares]:
        if seed != everybody.owners[false]._seed:
            return honest(seed, key, need, count)
        dealt = [one.to_bytes(33, "big") for one in split(2**256 + 5, need, count)]
        return [Shares(one, one) for one in dealt]

    monkeypatch.setattr("worker_node.secure_aggregation.owner.deal", deal)
    with lost(f"{false}: its shares are not of one secret"):
        everybody.result()
    assert everybody.coordinator.faulty == {false: "its shares are not of one secret"}


@pytest.mark.parametrize("whose", ["seed", "key"])
def test_a_share_is_the_one_that_was_sealed_for_its_holder(whose: str) -> None:
    """Of who is in, of a seed; of who is lost, of a key; and none of an opening counts else."""
    everybody = secure_sum(names(4), lost={"o03": "mask"})
    everybody.to_agreement()
    coordinator, bob = everybody.coordinator, everybody.owners["o00"]
    held = dict(bob._held)
    good = Opening.unpack(bob.open(everybody.to_agreement()))
    dealer = "o01" if whose == "seed" else "o03"
    other = held[dealer].key if whose == "seed" else held[dealer].seed
    false = tuple((one, other if one == dealer else share) for one, share in good.shares)
    with broken("shares", f"share of {dealer} is not the one that was sealed"):
        opening = good.model_copy(update={"shares": false})
        coordinator.take_opening("o00", opening.pack())
    opened = coordinator._opened
    assert opened is not None
    assert opened._shares == {one: {} for one in names(4)}
    for wrong in (good.shares[::-1], (good.shares[0], *good.shares)):
        with broken("shares", "twice"):
            coordinator.take_opening("o00", good.model_copy(update={"shares": wrong}).pack())
    with broken("shares", "who dealt nothing"):
        more = (*good.shares, ("o09", good.shares[0][1]))
        coordinator.take_opening("o00", good.model_copy(update={"shares": more}).pack())
    with broken("one_set"):
        coordinator.take_opening("o00", good.model_copy(update={"proposal": bytes(32)}).pack())
    finishes(everybody)


def dealt_of(everybody: SecureSum, one: str) -> tuple[Dealt, VerifiedRoster]:
    packed = everybody.to_roster()
    return Dealt.unpack(everybody.owners[one].share(packed)), everybody.coordinator.roster


def signed_as(by: str, envelopes: tuple[bytes, ...], **changed: Any) -> Callable[[bytes], bytes]:
    def made(roster: bytes) -> bytes:
        root = root_and_paths(envelopes)[0] if envelopes else bytes(32)
        good = {"roster": roster, "dealer": by, "root": root}
        dealing = Dealing(**{**good, **changed})
        return Dealt(envelopes=envelopes, dealing=dealing.sign(signer(by).key)).pack()

    return made


def test_what_is_dealt_is_read_as_what_each_holder_gets() -> None:
    everybody = secure_sum(names(3))
    dealt, roster = dealt_of(everybody, "o01")
    found = read_dealt(dealt.pack(), "o01", roster)
    assert list(found.envelopes) == list(found.delivered) == names(3)
    _, paths = root_and_paths(dealt.envelopes)
    for place, one in enumerate(names(3)):
        assert found.envelopes[one].pack() == dealt.envelopes[place]
        assert found.envelopes[one].holder == one
        assert found.delivered[one] == (dealt.envelopes[place], paths[place], dealt.dealing)


def test_each_rule_of_what_is_dealt_by_itself() -> None:
    everybody = secure_sum(names(3))
    dealt, roster = dealt_of(everybody, "o01")
    theirs = Dealt.unpack(everybody.owners["o02"].share(everybody.to_roster())).envelopes
    elsewhere, _ = dealt_of(secure_sum(names(3)), "o01")
    first, second, third = dealt.envelopes
    for rule, why, data in (
        (
            "signature",
            "not those that it signed",
            signed_as("o01", dealt.envelopes, root=bytes(32)),
        ),
        ("signature", "not those that it signed", signed_as("o01", ())),
        ("signature", "is not signed by", signed_as("o02", dealt.envelopes)),
        ("shares", "another roster or dealer", signed_as("o01", (first, theirs[1], third))),
        ("shares", "another roster or dealer", signed_as("o01", elsewhere.envelopes)),
        ("shares", "what it signed", signed_as("o01", dealt.envelopes, roster=bytes(32))),
        ("shares", "what it signed", signed_as("o01", dealt.envelopes, dealer="o02")),
        ("shares", "one for each owner", signed_as("o01", (first, second))),
        ("shares", "one for each owner", signed_as("o01", (first, third, second))),
        ("shares", "one for each owner", signed_as("o01", (first, second, third, third))),
    ):
        with pytest.raises(Violation, match=why) as caught:
            read_dealt(data(roster.digest), "o01", roster)
        assert caught.value.rule == rule
    read_dealt(signed_as("o01", dealt.envelopes)(roster.digest), "o01", roster)
    finishes(everybody)


def test_the_masks_are_bound_to_what_an_evaluation_measured() -> None:
    what = context(which="evaluation")
    for measured in (None, b"m" * 32):
        coordinator = Aggregation(what, trust(), SIZE, measured)
        for one in names(2):
            coordinator.take_keys(one, owner(one, what).keys())
        roster = coordinator.roster
        subject = what.state if measured is None else measured
        assert coordinator.masking == roster.masking((), subject)


def test_a_sum_of_nothing_but_zeros_is_zero_whoever_is_lost() -> None:
    zeros = {one: np.zeros(SIZE, np.uint64) for one in names(4)}
    for silent in ({}, {"o02": "mask"}):
        found = secure_sum(names(4), lost=silent, vectors=zeros)
        assert found.result().tolist() == [0] * SIZE
