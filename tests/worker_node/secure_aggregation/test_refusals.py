"""What a coordinator may try on an owner once there is a roster; each refusal names the rule."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import PolicyRefused
from shared.secure_aggregation import sealed_shares
from shared.secure_aggregation.merkle import root_from
from shared.secure_aggregation.messages import (
    Agreement,
    Dealing,
    Delivery,
    Envelope,
    Opening,
    Proposal,
    Statement,
)
from shared.secure_aggregation.roster import threshold
from shared.secure_aggregation.sealed_shares import Shares
from tests.helpers.secure_sums import (
    SIZE,
    SecureSum,
    context,
    names,
    owner,
    secure_sum,
    signer,
)
from tests.worker_node.secure_aggregation.scene import (
    ANNE,
    BOB,
    finishes,
    refused,
    roster_with,
)
from worker_node.secure_aggregation.masked_rounds import RoundsInMemory

# Two rosters, two deliveries, two vectors.


def test_a_second_roster_of_one_sum_is_refused_and_the_first_is_answered_alike() -> None:
    everybody = secure_sum(names(4))
    roster = everybody.to_roster()
    bob = everybody.owners[BOB]
    dealt = bob.share(roster)
    with refused("one_roster"):
        bob.share(roster_with(everybody))  # without anne
    assert bob.share(roster) == dealt
    finishes(everybody)


def test_a_round_that_was_masked_is_not_masked_under_another_roster_after_a_restart() -> None:
    rounds = RoundsInMemory()
    before = secure_sum(names(4))
    before.owners[BOB] = owner(BOB, rounds=rounds)
    finishes(before)
    for number in (1, 2):
        again = secure_sum(names(3), context(number=number))
        again.owners[BOB] = owner(BOB, context(number=number), rounds=rounds)
        again.to_delivery()
        if number == 1:
            with refused("one_roster"):
                again.owners[BOB].mask(again.vectors[BOB])
        else:
            finishes(again)


def test_a_second_delivery_is_refused() -> None:
    everybody = secure_sum(names(4))
    everybody.to_delivery()
    delivered = Delivery.unpack(everybody.coordinator.make_delivery(BOB))
    with refused("one_delivery"):
        everybody.owners[BOB].receive(Delivery(envelopes=delivered.envelopes[:-1]).pack())
    finishes(everybody)


def test_a_second_vector_of_one_sum_is_refused_and_the_first_leaves_as_it_did() -> None:
    everybody = secure_sum(names(3))
    everybody.to_delivery()
    bob, vector = everybody.owners[BOB], everybody.vectors[BOB]
    masked = bob.mask(vector)
    with refused("one_vector"):
        bob.mask(vector + np.uint64(1))
    assert bob.mask(vector) == masked
    finishes(everybody)


def test_a_training_is_of_no_other_state_than_its_rounds() -> None:
    everybody = secure_sum(names(3))
    everybody.to_delivery()
    with refused("state"):
        everybody.owners[BOB].mask(everybody.vectors[BOB], sha256(b"another model").digest())
    finishes(everybody)


# Shares: changed, of an earlier round, for somebody else, of a stranger.


Delivered = tuple[bytes, bytes, bytes]


def delivered(everybody: SecureSum, whom: str = BOB) -> list[Delivered]:
    """The envelopes for one owner, before he has them."""
    roster = everybody.to_roster()
    for one, who in everybody.first("share"):
        everybody.coordinator.take_dealt(one, who.share(roster))
    return list(Delivery.unpack(everybody.coordinator.make_delivery(whom)).envelopes)


def test_a_share_that_was_changed_on_its_way_is_refused_at_every_byte() -> None:
    everybody = secure_sum(names(3))
    envelopes = delivered(everybody)
    good, path, dealing = envelopes[1]
    for place in range(len(good)):
        envelopes[1] = (turned(good, place), path, dealing)
        with pytest.raises(PolicyRefused) as caught:
            everybody.owners[BOB].receive(Delivery(envelopes=tuple(envelopes)).pack())
        rule = caught.value.rule.removeprefix("secure_aggregation.")
        assert rule in ("signature", "malformed", "shares")
    finishes(everybody)


def turned(data: bytes, place: int) -> bytes:
    """The bytes with one bit of one of them turned."""
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_a_bad_seal_is_its_dealers_fault_only_where_the_dealer_signed_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At every byte of path and signature; without them a good seal is as good."""
    honest = sealed_shares.seal

    def seal(shares: Shares, common: bytes, roster: bytes, dealer: str, holder: str) -> Envelope:
        envelope = honest(shares, common, roster, dealer, holder)
        is_bad = (dealer, holder) == (ANNE, BOB)
        return envelope.model_copy(update={"sealed": bytes(82)}) if is_bad else envelope

    monkeypatch.setattr("worker_node.secure_aggregation.owner.seal", seal)
    everybody = secure_sum(names(5))
    envelopes = delivered(everybody)
    data, path, dealing = envelopes[1]
    assert len(path) == 3 * 32
    claims = [(turned(path, place), dealing) for place in range(len(path))]
    claims += [(path, turned(dealing, place)) for place in range(len(dealing))]
    claims += [(path[32:], dealing), (path + bytes(32), dealing), (b"", dealing), (path, b"")]
    claims += [(other_path, other) for _, other_path, other in envelopes[2:]]
    for claim in claims:
        envelopes[1] = (data, *claim)
        with pytest.raises(PolicyRefused) as caught:
            everybody.owners[BOB].receive(Delivery(envelopes=tuple(envelopes)).pack())
        assert caught.value.rule.removeprefix("secure_aggregation.") in ("signature", "malformed")
    finishes(everybody)
    assert everybody.owners[BOB].unreadable == (ANNE,)


def test_a_dealers_signature_of_another_roster_or_for_another_place_is_none() -> None:
    everybody = secure_sum(names(5))
    envelopes = delivered(everybody)
    data, path, dealing = envelopes[1]
    key, bad = signer(ANNE).key, turned(data, len(data) - 1)
    root = root_from(bad, 0, 5, path)
    assert root is not None
    body = Dealing.read_signed(dealing)[0].model_copy(update={"root": root})
    for false in (
        body.model_copy(update={"roster": bytes(32)}),
        body.model_copy(update={"dealer": "o02"}),
        body.model_copy(update={"root": root_from(bad, 1, 5, path)}),
    ):
        envelopes[1] = (bad, path, false.sign(key))
        with refused("signature"):
            everybody.owners[BOB].receive(Delivery(envelopes=tuple(envelopes)).pack())
    finishes(everybody)


def test_shares_of_an_earlier_round_are_refused() -> None:
    before = secure_sum(names(3))
    old = delivered(before)
    everybody = secure_sum(names(3), context(number=2))
    envelopes = delivered(everybody)
    envelopes[1] = old[1]
    with refused("shares"):
        everybody.owners[BOB].receive(Delivery(envelopes=tuple(envelopes)).pack())
    finishes(everybody)


def test_shares_for_another_owner_or_twice_or_without_ones_own_are_refused() -> None:
    everybody = secure_sum(names(3))
    envelopes = delivered(everybody)
    for_anne = Delivery.unpack(everybody.coordinator.make_delivery(ANNE)).envelopes
    bob = everybody.owners[BOB]
    wrongs: tuple[tuple[Delivered, ...], ...] = (
        (envelopes[0], for_anne[1], envelopes[2]),
        (envelopes[0], envelopes[1], envelopes[1]),
        (envelopes[1], envelopes[0], envelopes[2]),
        (envelopes[1], envelopes[2]),
    )
    for wrong in wrongs:
        with refused("shares"):
            bob.receive(Delivery(envelopes=wrong).pack())
    with refused("threshold"):
        bob.receive(Delivery(envelopes=tuple(envelopes[:2])).pack())
    finishes(everybody)


def test_shares_of_a_stranger_are_refused() -> None:
    others = secure_sum([BOB, ANNE, "o03"])
    stranger = delivered(others)[2]
    everybody = secure_sum(names(3))
    envelopes = [*delivered(everybody), stranger]
    with refused("shares"):
        everybody.owners[BOB].receive(Delivery(envelopes=tuple(envelopes)).pack())
    finishes(everybody)


def test_shares_of_a_stranger_that_name_this_roster_are_refused() -> None:
    everybody = secure_sum(names(3))
    envelopes = delivered(everybody)
    data, path, dealing = envelopes[1]
    named = Envelope.unpack(data).model_copy(update={"dealer": "o09"}).pack()
    false = Delivery(envelopes=(*envelopes, (named, path, dealing))).pack()
    with refused("shares"):
        everybody.owners[BOB].receive(false)
    finishes(everybody)


def test_what_shares_were_sealed_with_is_forgotten_once_all_are_read() -> None:
    everybody = secure_sum(names(3))
    everybody.to_delivery()
    for who in everybody.owners.values():
        assert not who._common
    finishes(everybody)


# Survivors: one set, nobody in and lost, all of one model.


def proposal_of(everybody: SecureSum, lost: list[str], also_in: tuple[str, ...] = ()) -> bytes:
    everybody.to_delivery()
    for one, who in everybody.first("mask"):
        everybody.coordinator.take_masked(one, who.mask(everybody.vectors[one]))
    survivors = tuple(one for one in everybody.owners if one not in lost or one in also_in)
    return Proposal(
        masking=everybody.coordinator.masking, survivors=survivors, lost=tuple(lost)
    ).pack()


def test_an_owner_that_is_listed_as_survivor_and_as_lost_is_refused() -> None:
    everybody = secure_sum(names(4))
    both = proposal_of(everybody, [ANNE], also_in=(ANNE,))
    for who in everybody.owners.values():
        with refused("survivor_and_lost"):
            who.agree(both)
    finishes(everybody)


@pytest.mark.parametrize(
    ("survivors", "lost"),
    [
        (["o00", "o01", "o02"], []),
        (["o00", "o01", "o02", "o03", "o04"], []),
        (["o01", "o02", "o03"], ["o00"]),
    ],
)
def test_survivors_and_lost_are_all_who_dealt_and_the_owner_survives(
    survivors: list[str], lost: list[str]
) -> None:
    everybody = secure_sum(names(4))
    proposal_of(everybody, [])
    false = Proposal(
        masking=everybody.coordinator.masking, survivors=tuple(survivors), lost=tuple(lost)
    )
    with refused("survivors"):
        everybody.owners[BOB].agree(false.pack())
    finishes(everybody)


def test_a_second_set_of_survivors_is_refused() -> None:
    everybody = secure_sum(names(4))
    without_anne = proposal_of(everybody, [ANNE])
    bob = everybody.owners[BOB]
    statement = bob.agree(everybody.coordinator.make_proposal())
    with refused("one_set"):
        bob.agree(without_anne)
    assert bob.agree(everybody.coordinator.make_proposal()) == statement
    finishes(everybody)


def test_one_set_for_some_and_another_for_others_is_opened_for_nobody() -> None:
    everybody = secure_sum(names(4))
    without_anne = proposal_of(everybody, [ANNE])
    whole = everybody.coordinator.make_proposal()
    signed = {
        "o00": everybody.owners["o00"].agree(whole),
        "o01": everybody.owners["o01"].agree(whole),
        "o02": everybody.owners["o02"].agree(without_anne),
        "o03": everybody.owners["o03"].agree(without_anne),
    }
    mixed = Agreement(statements=tuple(signed.values())).pack()
    for one in ("o00", "o02"):
        with refused("one_set"):
            everybody.owners[one].open(mixed)
    for few in (("o00", "o01"), ("o01",), ()):
        with refused("agreement"):
            everybody.owners["o00"].open(
                Agreement(statements=tuple(signed[one] for one in few)).pack()
            )


def test_a_third_of_helpers_is_too_few_for_two_sets_or_for_both_kinds_of_shares() -> None:
    """Honest owners sign one set and give one kind of share of somebody; helpers both."""
    for owners in range(2, 101):
        need = threshold(owners)
        for helpers in range((owners - 1) // 3 + 1):
            assert 2 * need > (owners - helpers) + 2 * helpers
        assert need <= owners


def test_two_models_in_one_sum_are_seen_before_anything_is_opened() -> None:
    """Owners that evaluated different states derive different masks, and sign nothing."""
    everybody = secure_sum(names(3), context(which="evaluation"))
    everybody.to_delivery()
    one, other = sha256(b"one model").digest(), sha256(b"another model").digest()
    everybody.owners["o00"].mask(everybody.vectors["o00"], one)
    everybody.owners["o01"].mask(everybody.vectors["o01"], one)
    everybody.owners["o02"].mask(everybody.vectors["o02"], other)
    everybody.coordinator.measured = one
    proposal = Proposal(
        masking=everybody.coordinator.masking, survivors=tuple(names(3)), lost=()
    ).pack()
    with refused("masking"):
        everybody.owners["o02"].agree(proposal)


def test_statements_of_strangers_twice_unsorted_or_unsigned_do_not_count() -> None:
    everybody = secure_sum(names(4))
    proposal = everybody.to_proposal()
    signed = {one: who.agree(proposal) for one, who in everybody.owners.items()}
    found = Proposal.unpack(proposal)
    stranger = Statement(proposal=found.digest(), owner="o09").sign(signer("o09").key)
    forged = Statement(proposal=found.digest(), owner="o03").sign(signer("o09").key)
    replayed = Statement(proposal=bytes(32), owner="o03").sign(signer("o03").key)
    good = [signed[one] for one in ("o00", "o01", "o02")]
    for rule, statements in (
        ("agreement", [*good, stranger]),
        ("signature", [*good[:2], forged]),
        ("one_set", [*good[:2], replayed]),
        ("agreement", [*good[:2], good[1]]),
        ("agreement", good[::-1]),
        ("agreement", good[:2]),
    ):
        with refused(rule):
            everybody.owners[BOB].open(Agreement(statements=tuple(statements)).pack())
    finishes(everybody)


# Shares asked for twice.


def test_shares_are_given_of_one_kind_and_the_same_ones_however_often_they_are_asked_for() -> None:
    everybody = secure_sum(names(4), lost={"o03": "mask"})
    agreement = everybody.to_agreement()
    bob = everybody.owners[BOB]
    held = dict(bob._held)
    first = bob.open(agreement)
    assert bob.open(agreement) == first
    given_away = dict(Opening.unpack(first).shares)
    assert given_away == {
        one: held[one].key if one == "o03" else held[one].seed for one in names(4)
    }
    with refused("one_set"):
        bob.agree(
            Proposal(
                masking=everybody.coordinator.masking,
                survivors=("o00", "o01", "o03"),
                lost=("o02",),
            ).pack()
        )
    finishes(everybody)


def test_the_secrets_are_forgotten_with_the_answer() -> None:
    everybody = secure_sum(names(3))
    agreement = everybody.to_agreement()
    bob = everybody.owners[BOB]
    secrets = {bob._seed, bob._mask_key.raw, bob._share_key.raw}
    secrets |= {share for held in bob._held.values() for share in (held.seed, held.key)}
    bob.open(agreement)
    kept = {bob._seed, bob._mask_key.raw, bob._share_key.raw}
    kept |= {share for held in bob._held.values() for share in (held.seed, held.key)}
    assert not secrets & kept


def test_an_agreement_of_an_earlier_round_opens_nothing() -> None:
    before = secure_sum(names(3))
    old = before.to_agreement()
    everybody = secure_sum(names(3), context(number=2))
    proposal = everybody.to_proposal()
    for who in everybody.owners.values():
        who.agree(proposal)
        with refused("one_set"):
            who.open(old)
    finishes(everybody)


def test_steps_out_of_order_are_refused() -> None:
    everybody = secure_sum(names(3))
    bob = everybody.owners[BOB]
    steps: list[Callable[[], object]] = [
        lambda: bob.receive(b""),
        lambda: bob.mask(np.zeros(SIZE, np.uint64)),
        lambda: bob.agree(b""),
        lambda: bob.open(b""),
    ]
    for step in steps:
        with refused("order"):
            step()
    bob.share(everybody.to_roster())
    for step in steps[1:]:
        with refused("order"):
            step()
    everybody.to_delivery()
    for step in steps[2:]:
        with refused("order"):
            step()
    everybody.to_proposal()
    with refused("order"):
        bob.open(b"")
    finishes(everybody)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(["share", "receive", "agree", "open"]), st.binary(max_size=400))
def test_any_other_bytes_are_refused_and_change_nothing(step: str, data: bytes) -> None:
    everybody = secure_sum(names(3))
    before = {
        "share": everybody.to_roster,
        "receive": lambda: delivered(everybody),
        "agree": everybody.to_proposal,
        "open": everybody.to_agreement,
    }
    before[step]()
    if step == "agree":
        everybody.coordinator.make_proposal()
    with pytest.raises(PolicyRefused) as caught:
        getattr(everybody.owners[BOB], step)(data)
    assert caught.value.rule.startswith("secure_aggregation.")
    finishes(everybody)
