"""From the owner's policy and identity folder to the secure sums that the node takes part in."""

from __future__ import annotations

import logging
from pathlib import Path

from shared.errors import UsageError
from shared.identity import folder as identity
from shared.identity.certificates import key_fingerprint
from shared.identity.folder import read_key
from shared.secure_aggregation.trust import Signer
from worker_node.guarding.rules.terms import SecureAggregationTerms
from worker_node.guarding.set_up import Guarding
from worker_node.membership.peers import PEERS, pinned
from worker_node.secure_aggregation.masked_rounds import RoundsInMemory, RoundsOnDisk
from worker_node.secure_aggregation.sums import SecureSums
from worker_node.secure_aggregation.terms import Terms

log = logging.getLogger("fedsms.node")


def find_sums(guarding: Guarding) -> SecureSums | None:
    """What a node with this policy and identity takes part in; None where it has no certificate.

    Raises:
        UsageError: the policy asks for secure sums and there is no certificate to sign with, or
            pins somebody who does not stand in peers.toml, or that file is malformed.
        StorageError: what was masked before cannot be read.
    """
    wanted, folder = guarding.policy.secure_aggregation, guarding.identity
    if folder is None:
        if wanted.required:
            raise UsageError(
                "the policy demands secure sums, and this node has no certificate to sign with",
                "rule secure_aggregation.required",
                "Make one with: python -m worker_node init --id ID",
            )
        return None
    trusted = guarding.policy.differential_privacy.honest_owners
    fewest = max(wanted.fewest_owners, trusted + 1)  # their noise must be in what is opened
    terms = Terms(
        fewest,
        _others(folder, pinned(folder, wanted.pinned, "secure_aggregation.pinned")),
        wanted.fewest_pinned,
        wanted.dropouts,
    )
    path = _masked_file(guarding)
    rounds = RoundsOnDisk(path) if path is not None else RoundsInMemory()
    _warn(wanted, path)
    if trusted > wanted.fewest_pinned:
        log.warning(
            "%d other owners are trusted to add noise, and %d pinned ones must be there: whoever "
            "holds the CA's key can invent the others, who add none",
            trusted,
            wanted.fewest_pinned,
        )
    return SecureSums(lambda: Signer.of(identity.load(folder, "node")), terms, rounds)


def _others(folder: Path, pins: dict[str, str]) -> dict[str, str]:
    """The fingerprints by id. Raises UsageError where they are of fewer others than they seem."""
    own = key_fingerprint(read_key(folder).public_key()) if pins else ""
    for name, fingerprint in pins.items():
        same = [one for one, found in pins.items() if found == fingerprint and one != name]
        if fingerprint == own or same:
            has = "this node's own key for it, which is in every sum anyway"
            if fingerprint != own:
                has = f"the same key for {same[0]}, and they count as one"
            raise UsageError(
                f"the policy pins {name}",
                f"rule secure_aggregation.pinned: {folder / PEERS} has {has}",
                "Compare fingerprints with each owner: python -m worker_node peers",
            )
    return pins


def _masked_file(guarding: Guarding) -> Path | None:
    """Beside the counts of the day, which are where a node may write."""
    counts = guarding.counts
    return counts.with_name(f"{counts.stem}.masked.json") if counts is not None else None


def _warn(wanted: SecureAggregationTerms, path: Path | None) -> None:
    """Says what the owner's terms leave open, where the owner relies on them."""
    if not wanted.required:
        return
    if wanted.fewest_owners == 2:
        log.warning(
            "secure sums of two: the other owner can subtract itself from one, and the coordinator "
            "learns the sum of you both"
        )
    if not wanted.fewest_pinned:
        log.warning(
            "no owner is pinned: whoever holds the CA's key can invent all others and subtract "
            "them; compare keys with `python -m worker_node peers`, and set fewest_pinned"
        )
    if path is None:
        log.warning(
            "which rounds were masked is forgotten when this node ends, since it keeps no counts"
        )
