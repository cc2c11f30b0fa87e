"""One sum from end to end: right whatever is lost, wrong never, and nobody's fault is another's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.aggregation.aggregators import FedAvg
from server.secure_aggregation.aggregation import Aggregation
from shared.errors import NodeFailed, QuorumLost
from shared.secure_aggregation import sealed_shares
from shared.secure_aggregation.canonical import digest
from shared.secure_aggregation.contents import TrainingSum, encode_training, training_numbers
from shared.secure_aggregation.merkle import root_and_paths
from shared.secure_aggregation.messages import Agreement, Dealing, Dealt, Envelope, Opening
from shared.secure_aggregation.roster import threshold
from shared.secure_aggregation.sealed_shares import Shares
from tests.helpers.secure_sums import (
    OPEN_TERMS,
    SIZE,
    STEPS,
    SecureSum,
    context,
    names,
    owner,
    secure_sum,
    signer,
    trust,
)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 10, 30])
def test_the_sum_is_that_of_everybodys_vectors(count: int) -> None:
    everybody = secure_sum(names(count))
    assert everybody.result().tolist() == everybody.plain().tolist()


@st.composite
def losses(draw: st.DrawFn) -> tuple[int, dict[str, str]]:
    count = draw(st.integers(2, 9))
    lost = draw(st.dictionaries(st.sampled_from(names(count)), st.sampled_from(STEPS), max_size=4))
    return count, lost


@settings(deadline=None, max_examples=80)
@given(losses())
def test_owners_lost_at_any_step_leave_the_survivors_sum_or_none_at_all(
    what: tuple[int, dict[str, str]],
) -> None:
    count, lost = what
    everybody = secure_sum(names(count), lost=lost)
    here = [len(everybody.doing(step)) for step in STEPS]
    enough = here[0] >= 2 and min(here[1:]) >= threshold(here[0])
    if not enough:
        with pytest.raises(QuorumLost):
            everybody.result()
        return
    assert everybody.result().tolist() == everybody.plain().tolist()


@pytest.mark.parametrize(
    ("count", "lost"),
    [
        (2, {}),
        (3, {}),
        (3, {"o01": "keys"}),
        (10, {}),
        (10, {"o01": "keys", "o04": "share", "o07": "mask"}),
    ],
)
def test_a_secure_round_leaves_the_bytes_of_a_plain_one(count: int, lost: dict[str, str]) -> None:
    rng = np.random.default_rng(count)
    trained = {one: rng.normal(scale=0.1, size=5000).astype(np.float32) for one in names(count)}
    rows = {one: int(rng.integers(1, 3000)) for one in names(count)}
    vectors = {one: encode_training(trained[one], rows[one], 0.25) for one in trained}
    everybody = secure_sum(names(count), lost=lost, vectors=vectors)
    found = TrainingSum.decode(everybody.result())
    rule = FedAvg(np.zeros(5000, np.float32))
    for one in everybody.survivors():
        rule.add(one, trained[one], rows[one])
    assert found.state.tobytes() == rule.finish().state.tobytes()
    assert found.rows == sum(rows[one] for one in everybody.survivors())


def test_an_evaluation_is_summed_with_other_keys_and_of_the_state_that_it_measured() -> None:
    what = context(which="evaluation")
    everybody = secure_sum(names(3), what)
    everybody.to_delivery()
    measured = bytes(range(32))
    everybody.coordinator.measured = measured
    for one, who in everybody.owners.items():
        everybody.coordinator.take_masked(one, who.mask(everybody.vectors[one], measured))
    proposal = everybody.coordinator.make_proposal()
    for one, who in everybody.owners.items():
        everybody.coordinator.take_statement(one, who.agree(proposal))
    agreement = everybody.coordinator.make_agreement()
    for one, who in everybody.owners.items():
        everybody.coordinator.take_opening(one, who.open(agreement))
    assert everybody.coordinator.result().tolist() == everybody.plain().tolist()


def test_messages_may_come_twice_and_late_openings_change_nothing() -> None:
    everybody = secure_sum(names(4))
    coordinator = everybody.coordinator
    for _ in range(2):
        for one, who in everybody.owners.items():
            coordinator.take_keys(one, who.keys())
    roster = coordinator.make_roster()
    for _ in range(2):
        for one, who in everybody.owners.items():
            coordinator.take_dealt(one, who.share(roster))
    for one, who in everybody.owners.items():
        for _ in range(2):
            who.receive(coordinator.make_delivery(one))
            coordinator.take_masked(one, who.mask(everybody.vectors[one]))
    proposal = coordinator.make_proposal()
    for _ in range(2):
        for one, who in everybody.owners.items():
            coordinator.take_statement(one, who.agree(proposal))
    agreement = coordinator.make_agreement()
    openings = {one: who.open(agreement) for one, who in everybody.owners.items()}
    assert openings == {one: who.open(agreement) for one, who in everybody.owners.items()}
    for one in names(4)[:3]:
        coordinator.take_opening(one, openings[one])
        coordinator.take_opening(one, openings[one])
    assert coordinator.is_open
    found = coordinator.result().tolist()
    coordinator.take_opening("o03", openings["o03"])
    assert coordinator.result().tolist() == found == everybody.plain().tolist()


@pytest.mark.parametrize("count", [2, 3, 4, 10])
def test_an_agreement_is_of_no_more_than_must_agree(count: int) -> None:
    everybody = secure_sum(names(count))
    statements = Agreement.unpack(everybody.to_agreement()).statements
    assert len(statements) == threshold(count)
    assert everybody.result().tolist() == everybody.plain().tolist()


def test_a_coordinator_that_begins_again_goes_on_with_the_roster_it_kept() -> None:
    everybody = secure_sum(names(4))
    everybody.to_proposal()
    again = Aggregation(everybody.coordinator.context, trust(), 7)
    again.restore_roster(everybody.coordinator.make_roster())
    everybody.coordinator = again
    for one, who in everybody.owners.items():
        again.take_dealt(one, who.share(again.make_roster()))
    for one, who in everybody.owners.items():
        who.receive(again.make_delivery(one))
        again.take_masked(one, who.mask(everybody.vectors[one]))
    proposal = again.make_proposal()
    for one, who in everybody.owners.items():
        again.take_statement(one, who.agree(proposal))
    agreement = again.make_agreement()
    for one, who in everybody.owners.items():
        again.take_opening(one, who.open(agreement))
    assert again.result().tolist() == everybody.plain().tolist()


def test_what_is_kept_does_not_grow_with_the_vectors() -> None:
    size = 50_000
    vectors = {one: np.zeros(size, np.uint64) for one in names(10)}
    everybody = secure_sum(names(10), vectors=vectors)
    everybody.to_proposal()
    held = [
        value
        for value in vars(everybody.coordinator).values()
        if isinstance(value, np.ndarray | bytes | bytearray) and len(value) >= size
    ]
    assert len(held) == 1


# What a node sends ends its own part alone.


def goes_on(everybody: SecureSum, without: str) -> None:
    """The others finish their sum; the silent one is lost from the step that it failed at."""
    assert without not in everybody.survivors()
    assert everybody.coordinator.result().tolist() == everybody.plain().tolist()


def test_a_node_whose_keys_are_not_its_own_is_left_out() -> None:
    everybody = secure_sum(names(4), lost={"o03": "keys"})
    with pytest.raises(NodeFailed, match="speaks for somebody else"):
        everybody.coordinator.take_keys("o03", everybody.owners["o02"].keys())
    with pytest.raises(NodeFailed, match="another round"):
        everybody.coordinator.take_keys("o03", owner("o03", context(number=2)).keys())
    everybody.result()
    goes_on(everybody, "o03")


def signed_as_dealt(by: str, roster: bytes, envelopes: tuple[bytes, ...]) -> bytes:
    root = root_and_paths(envelopes)[0] if envelopes else bytes(32)
    dealing = Dealing(roster=digest(roster), dealer=by, root=root)
    return Dealt(envelopes=envelopes, dealing=dealing.sign(signer(by).key)).pack()


@pytest.mark.parametrize(
    "fault",
    [
        "nothing",
        "cut",
        "few",
        "none",
        "swapped",
        "one twice",
        "not as signed",
        "signed by another",
        "another roster",
        "signed for another roster",
        "another roster's, signed for this one",
    ],
)
def test_a_node_that_deals_malformed_shares_is_left_out(fault: str) -> None:
    everybody = secure_sum(names(4), lost={"o03": "share"})
    roster = everybody.to_roster()
    good = everybody.owners["o03"].share(roster)
    envelopes, dealing = (dealt := Dealt.unpack(good)).envelopes, dealt.dealing
    other = secure_sum(names(4))
    others = other.owners["o03"].share(other.to_roster())
    sent = {
        "nothing": b"",
        "cut": good[:-1],
        "few": signed_as_dealt("o03", roster, envelopes[:-1]),
        "none": signed_as_dealt("o03", roster, ()),
        "swapped": signed_as_dealt("o03", roster, envelopes[::-1]),
        "one twice": signed_as_dealt("o03", roster, (*envelopes, envelopes[-1])),
        "not as signed": Dealt(envelopes=envelopes[:-1], dealing=dealing).pack(),
        "signed by another": signed_as_dealt("o02", roster, envelopes),
        "another roster": others,
        "signed for another roster": signed_as_dealt("o03", b"another", envelopes),
        "another roster's, signed for this one": signed_as_dealt(
            "o03", roster, Dealt.unpack(others).envelopes
        ),
    }[fault]
    with pytest.raises(NodeFailed, match="o03"):
        everybody.coordinator.take_dealt("o03", sent)
    everybody.result()
    goes_on(everybody, "o03")


@pytest.mark.parametrize("length", [0, 6, 8])
def test_a_vector_of_a_wrong_length_is_left_out_and_counts_nothing(length: int) -> None:
    everybody = secure_sum(names(4), lost={"o03": "mask"})
    everybody.to_delivery()
    wrong = everybody.owners["o03"].mask(np.zeros(length, np.uint64))
    for one, who in everybody.doing("mask"):
        everybody.coordinator.take_masked(one, who.mask(everybody.vectors[one]))
    with pytest.raises(NodeFailed, match=r"malformed|bytes"):
        everybody.coordinator.take_masked("o03", wrong)
    everybody.result()
    goes_on(everybody, "o03")


def test_a_masked_vector_of_another_round_is_refused() -> None:
    before = secure_sum(names(4))
    before.to_delivery()
    old = before.owners["o03"].mask(before.vectors["o03"])
    everybody = secure_sum(names(4), context(number=2), lost={"o03": "mask"})
    everybody.to_delivery()
    with pytest.raises(NodeFailed, match="another round, roster or state"):
        everybody.coordinator.take_masked("o03", old)
    everybody.result()
    goes_on(everybody, "o03")


def test_a_vector_of_another_model_is_refused() -> None:
    what = context(which="evaluation")
    everybody = secure_sum(names(4), what, lost={"o03": "mask"})
    everybody.to_delivery()
    with pytest.raises(NodeFailed, match="another round, roster or state"):
        everybody.coordinator.take_masked(
            "o03", everybody.owners["o03"].mask(everybody.vectors["o03"], bytes(32))
        )
    everybody.result()
    goes_on(everybody, "o03")


@pytest.mark.parametrize("fault", ["changed", "swapped", "twice", "strange", "another set"])
def test_a_node_that_opens_false_shares_ends_its_own_part(fault: str) -> None:
    everybody = secure_sum(names(4), lost={"o03": "open"})
    agreement = everybody.to_agreement()
    good = Opening.unpack(everybody.owners["o03"].open(agreement))
    (one, share), (other, next_share), *rest = good.shares
    changed = bytes([*share[:-1], share[-1] ^ 1])
    shares = {
        "changed": ((one, changed), (other, next_share), *rest),
        "swapped": ((one, next_share), (other, share), *rest),
        "twice": ((one, share), (one, share), *rest),
        "strange": ((one, share), (other, next_share), ("zoe", share)),
        "another set": good.shares,
    }[fault]
    proposal = bytes(32) if fault == "another set" else good.proposal
    false = Opening(proposal=proposal, owner="o03", shares=shares)
    with pytest.raises(NodeFailed, match="o03"):
        everybody.coordinator.take_opening("o03", false.pack())
    for name, who in everybody.doing("open"):
        everybody.coordinator.take_opening(name, who.open(agreement))
    assert everybody.coordinator.result().tolist() == everybody.plain().tolist()


def test_a_dealer_of_one_bad_share_costs_nobody_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = secure_sum(names(4))
    misdeal(monkeypatch, everybody, "o02", bad=1)
    assert everybody.result().tolist() == everybody.plain().tolist()


def test_a_dealer_of_bad_shares_is_named_where_its_mask_cannot_be_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everybody = secure_sum(names(4))
    misdeal(monkeypatch, everybody, "o02", bad=3)
    with pytest.raises(QuorumLost, match="o02"):
        everybody.result()
    assert list(everybody.coordinator.faulty) == ["o02"]


def test_shares_that_only_look_sealed_cost_their_dealer_that_holder_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = sealed_shares.seal

    def seal(shares: Shares, common: bytes, roster: bytes, dealer: str, holder: str) -> Envelope:
        envelope = honest(shares, common, roster, dealer, holder)
        is_bad = (dealer, holder) == ("o02", "o00")
        return envelope.model_copy(update={"sealed": bytes(82)}) if is_bad else envelope

    monkeypatch.setattr("worker_node.secure_aggregation.owner.seal", seal)
    everybody = secure_sum(names(4))
    assert everybody.result().tolist() == everybody.plain().tolist()
    unreadable = {one: who.unreadable for one, who in everybody.owners.items()}
    assert unreadable == {"o00": ("o02",), "o01": (), "o02": (), "o03": ()}


def misdeal(monkeypatch: pytest.MonkeyPatch, everybody: SecureSum, false: str, bad: int) -> None:
    """Has one owner deal shares that are not of one polynomial, well sealed, to the first ones."""
    honest = sealed_shares.deal

    def deal(seed: bytes, key: bytes, need: int, count: int) -> list[Shares]:
        shares = honest(seed, key, need, count)
        if seed == everybody.owners[false]._seed:
            shares[:bad] = honest(bytes(32), bytes(32), need, count)[:bad]
        return shares

    monkeypatch.setattr("worker_node.secure_aggregation.owner.deal", deal)


@pytest.mark.parametrize("step", ["dealt", "masked", "statement", "opening"])
def test_what_comes_out_of_step_is_refused(step: str) -> None:
    everybody = secure_sum(names(2))
    take = getattr(everybody.coordinator, f"take_{step}")
    with pytest.raises((NodeFailed, QuorumLost)):
        take("o00", b"")
    everybody.result()
    if step != "opening":
        with pytest.raises(NodeFailed, match="too late"):
            take("o00", b"")
    with pytest.raises(NodeFailed, match="too late"):
        everybody.coordinator.take_keys("o00", everybody.owners["o00"].keys())


def sent_by_o02(step: str, everybody: SecureSum) -> bytes:
    """What an honest owner sends at a step, once everything before it was done."""
    honest = everybody.owners["o02"]
    if step == "keys":
        return honest.keys()
    if step == "dealt":
        return honest.share(everybody.to_roster())
    if step == "masked":
        everybody.to_delivery()
        return honest.mask(everybody.vectors["o02"])
    if step == "statement":
        return honest.agree(everybody.to_proposal())
    return honest.open(everybody.to_agreement())


@dataclass(frozen=True)
class Change:
    """What becomes of a good message's bytes; keys are drawn anew each time, so it is told apart.

    at: place in the bytes, in thousandths. others: sent instead.
    """

    kind: Literal["cut", "longer", "turned", "others"]
    at: int
    bit: int
    others: bytes

    def of(self, good: bytes) -> bytes:
        place = len(good) * self.at // 1000
        turned = bytes([good[place] ^ (1 << self.bit)])
        return {
            "cut": good[:place],
            "longer": good + self.others + b"\0",
            "turned": good[:place] + turned + good[place + 1 :],
            "others": self.others,
        }[self.kind]


changes = st.builds(
    Change,
    st.sampled_from(["cut", "longer", "turned", "others"]),
    st.integers(0, 999),
    st.integers(0, 7),
    st.binary(max_size=300),
)


@settings(deadline=None, max_examples=200)
@given(changes, st.sampled_from(["keys", "dealt", "masked", "statement", "opening"]))
def test_no_bytes_of_a_node_are_anything_but_its_own_fault(change: Change, step: str) -> None:
    everybody = secure_sum(names(3))
    good = sent_by_o02(step, everybody)
    changed = change.of(good)
    before = everybody.coordinator._total.tolist()
    take = getattr(everybody.coordinator, f"take_{step}")
    if step == "masked" and changed[: -8 * SIZE] == good[: -8 * SIZE]:
        take("o02", changed)  # any numbers look like noise, as good ones do
        return
    with pytest.raises(NodeFailed, match="node o02 sent"):
        take("o02", changed)
    assert everybody.coordinator._total.tolist() == before


def test_terms_are_the_owners_and_the_threshold_is_nobodys() -> None:
    assert [threshold(count) for count in (2, 3, 4, 6, 10, 30, 100)] == [2, 3, 3, 5, 7, 21, 67]
    assert OPEN_TERMS.fewest_owners == 2
    assert training_numbers(10) == 13
