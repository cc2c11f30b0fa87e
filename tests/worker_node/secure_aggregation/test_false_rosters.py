"""Keys and rosters that an owner refuses, by rule, and sets that his terms do not allow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgpack
import pytest

from shared.secure_aggregation.messages import (
    Context,
    Proposal,
    Roster,
)
from shared.secure_aggregation.trust import Trust
from shared.secure_aggregation.violation import Violation
from tests.helpers.secure_sums import (
    OPEN_TERMS,
    SecureSum,
    context,
    names,
    owner,
    secure_sum,
    signer,
)
from tests.worker_node.secure_aggregation.false_certificates import (
    another_ca,
    false_certificate,
    revoking,
)
from tests.worker_node.secure_aggregation.scene import (
    ANNE,
    BOB,
    finishes,
    keys_of,
    pinning,
    refused,
    roster_with,
)
from worker_node.secure_aggregation.masked_rounds import RoundsInMemory
from worker_node.secure_aggregation.owner import Owner
from worker_node.secure_aggregation.terms import Terms

# Keys: unsigned, replayed, minted, swapped, of small order, of another model.


def unsigned(everybody: SecureSum) -> bytes:
    packed: bytes = msgpack.packb((keys_of(everybody.owners[ANNE]).pack(), b""))
    return packed


def signed_by_another(everybody: SecureSum) -> bytes:
    return keys_of(everybody.owners[ANNE]).sign(signer("o02").key)


def another_public_key(everybody: SecureSum) -> bytes:
    body, signature = msgpack.unpackb(everybody.owners[ANNE].keys())
    own = keys_of(everybody.owners[ANNE])
    swapped = body.replace(own.mask_key, keys_of(owner(ANNE)).mask_key)
    packed: bytes = msgpack.packb((swapped, signature))
    return packed


def under_anothers_name(everybody: SecureSum) -> bytes:
    stranger = signer("o09")
    return keys_of(owner("o09")).model_copy(update={"owner": ANNE}).sign(stranger.key)


def with_a_coordinators_certificate(everybody: SecureSum) -> bytes:
    return re_certified(everybody, "coordinator")


def with_a_certificate_of_another_ca(everybody: SecureSum) -> bytes:
    return re_certified(everybody, "stranger")


def without_a_certificate(everybody: SecureSum) -> bytes:
    own = keys_of(everybody.owners[ANNE]).model_copy(update={"certificate": b"\x30\x00"})
    return own.sign(signer(ANNE).key)


def re_certified(everybody: SecureSum, by: str) -> bytes:
    """Anne's keys under a certificate that names her and is not a node's of the federation."""
    key, der = false_certificate(ANNE, by)
    return keys_of(everybody.owners[ANNE]).model_copy(update={"certificate": der}).sign(key)


def of(what: Context) -> Callable[[SecureSum], bytes]:
    return lambda _: owner(ANNE, what).keys()


def small_order(field: str) -> Callable[[SecureSum], bytes]:
    def keys(everybody: SecureSum) -> bytes:
        false = keys_of(everybody.owners[ANNE]).model_copy(update={field: bytes(32)})
        return false.sign(signer(ANNE).key)

    return keys


def bobs_public_key(everybody: SecureSum) -> bytes:
    bobs = keys_of(everybody.owners[BOB]).mask_key
    return (
        keys_of(everybody.owners[ANNE]).model_copy(update={"mask_key": bobs}).sign(signer(ANNE).key)
    )


FALSE_KEYS: list[tuple[str, Callable[[SecureSum], bytes]]] = [
    ("signature", unsigned),
    ("signature", signed_by_another),
    ("signature", another_public_key),
    ("certificate", under_anothers_name),
    ("certificate", with_a_coordinators_certificate),
    ("certificate", with_a_certificate_of_another_ca),
    ("certificate", without_a_certificate),
    ("run", of(context(run="run-0"))),
    ("round", of(context(number=2))),
    ("rounds", of(context(rounds=8))),
    ("sum", of(context(which="evaluation"))),
    ("state", of(context(state=b"another model"))),
    ("recipe", of(context(recipe=b"another recipe"))),
    ("small_order", small_order("mask_key")),
    ("small_order", small_order("share_key")),
    ("fresh_keys", bobs_public_key),
]


@pytest.mark.parametrize(
    ("rule", "false"),
    FALSE_KEYS,
    ids=[f"{rule}-{number}" for number, (rule, _) in enumerate(FALSE_KEYS)],
)
def test_false_keys_of_another_owner_are_refused(
    rule: str, false: Callable[[SecureSum], bytes]
) -> None:
    everybody = secure_sum(names(4))
    with refused(rule):
        everybody.owners[BOB].share(roster_with(everybody, false(everybody)))
    finishes(everybody)


def test_a_roster_with_somebody_twice_or_unsorted_is_refused() -> None:
    everybody = secure_sum(names(4))
    bob, anne = everybody.owners[BOB], everybody.owners[ANNE]
    for keys in ((anne.keys(), anne.keys()), (anne.keys(), owner(ANNE).keys())):
        with refused("roster"):
            bob.share(roster_with(everybody, *keys))
    backwards = tuple(everybody.owners[one].keys() for one in reversed(names(4)))
    with refused("roster"):
        bob.share(Roster(keys=backwards).pack())
    finishes(everybody)


def test_a_roster_without_this_owners_own_fresh_keys_is_refused() -> None:
    everybody = secure_sum(names(4))
    bob = everybody.owners[BOB]
    with refused("own_keys"):
        bob.share(roster_with(everybody, instead_of=BOB))
    with refused("own_keys"):  # signed with his own key, by a process of his that is gone
        bob.share(roster_with(everybody, owner(BOB).keys(), instead_of=BOB))
    finishes(everybody)


def test_a_certificate_that_has_ended_or_was_revoked_is_refused_though_it_was_good_before() -> None:
    finishes(secure_sum(names(3)))
    everybody = secure_sum(names(3))
    later = datetime.now(UTC) + timedelta(days=4000)
    late = Owner(signer(BOB), context(), OPEN_TERMS, RoundsInMemory(), clock=lambda: later)
    with refused("certificate"):
        late.share(roster_with(everybody, late.keys(), instead_of=BOB))
    strict = Owner(revoking(BOB, ANNE), context(), OPEN_TERMS, RoundsInMemory())
    with refused("revoked"):
        strict.share(roster_with(everybody, strict.keys(), instead_of=BOB))


def test_a_certificate_that_is_known_is_not_known_to_another_ca() -> None:
    finishes(secure_sum(names(3)))
    own = signer(ANNE)
    anothers = Trust(another_ca(), own.trust.crl)
    with pytest.raises(Violation, match="not signed by this federation's CA"):
        anothers.node_key(own.certificate, ANNE, datetime.now(UTC))


# The owner's terms.


@pytest.mark.parametrize(
    ("rule", "terms"),
    [
        ("fewest_owners", Terms(fewest_owners=5)),
        ("pinned", Terms(pinned={"zoe": "ab:cd"}, fewest_pinned=1)),
        ("pinned", Terms(pinned={ANNE: "ab:cd"})),
    ],
)
def test_a_roster_that_the_owners_terms_do_not_allow_is_refused(rule: str, terms: Terms) -> None:
    everybody = secure_sum(names(4))
    strict = owner(BOB, terms=terms)
    with refused(rule):
        strict.share(roster_with(everybody, strict.keys(), instead_of=BOB))


def test_pinned_peers_with_the_keys_that_were_compared_are_accepted() -> None:
    terms = Terms(pinned=pinning(*names(4)), fewest_pinned=4, dropouts=0)
    finishes(secure_sum(names(4), terms=terms))


@pytest.mark.parametrize(
    ("rule", "terms", "survivors"),
    [
        ("fewest_owners", Terms(fewest_owners=7, dropouts=1), 6),
        ("dropouts", Terms(fewest_owners=2, dropouts=0.2), 5),
        ("threshold", Terms(fewest_owners=2, dropouts=1), 4),
        ("pinned", None, 6),
    ],
)
def test_a_set_that_the_owners_terms_do_not_allow_is_not_opened(
    rule: str, terms: Terms | None, survivors: int
) -> None:
    terms = terms or Terms(pinned=pinning("o05", "o06"), fewest_pinned=2, dropouts=1)
    everybody = secure_sum(names(7), terms=terms)
    everybody.to_delivery()
    for one, who in everybody.owners.items():
        everybody.coordinator.take_masked(one, who.mask(everybody.vectors[one]))
    proposal = Proposal(
        masking=everybody.coordinator.masking,
        survivors=tuple(names(7)[:survivors]),
        lost=tuple(names(7)[survivors:]),
    )
    with refused(rule):
        everybody.owners[BOB].agree(proposal.pack())
    finishes(everybody)
