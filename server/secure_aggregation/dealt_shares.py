"""The shares that one owner dealt, looked at before anything of them counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.secure_aggregation.merkle import root_and_paths
from shared.secure_aggregation.messages import Dealing, Dealt, Envelope
from shared.secure_aggregation.roster import VerifiedRoster
from shared.secure_aggregation.violation import Violation


@dataclass(frozen=True)
class DealtShares:
    """By holder: the Envelopes of one dealer, and what is handed on of them in a Delivery."""

    envelopes: Mapping[str, Envelope]
    delivered: Mapping[str, tuple[bytes, bytes, bytes]]


def read_dealt(data: bytes, dealer: str, roster: VerifiedRoster) -> DealtShares:
    """What is in a Dealt: all of it signed by the dealer, with one signature.

    Raises:
        Violation: it is not, or is no Dealt, or of another roster, or not one for each owner.
    """
    dealt = Dealt.unpack(data)
    root, paths = root_and_paths(dealt.envelopes) if dealt.envelopes else (b"", [])
    dealing = Dealing.signed_by(dealt.dealing, roster.peers[dealer].key, dealer)
    if dealing.root != root:
        raise Violation("signature", "its shares are not those that it signed")
    envelopes = {}
    for packed in dealt.envelopes:
        envelope = Envelope.unpack(packed)
        if (envelope.roster, envelope.dealer) != (roster.digest, dealer):
            raise Violation("shares", "its shares are of another roster or dealer")
        envelopes[envelope.holder] = envelope
    if (dealing.roster, dealing.dealer) != (roster.digest, dealer):
        raise Violation("shares", "what it signed is of another roster or dealer")
    if len(dealt.envelopes) != len(envelopes) or list(envelopes) != list(roster.peers):
        raise Violation("shares", "its shares are not one for each owner")
    proofs = zip(dealt.envelopes, paths, strict=True)
    delivered = {
        holder: (packed, path, dealt.dealing)
        for holder, (packed, path) in zip(envelopes, proofs, strict=True)
    }
    return DealtShares(envelopes, delivered)
