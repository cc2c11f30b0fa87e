"""What a node needs for sealed sessions: its certificate, pinned keys, and a place for scores."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shared.errors import StorageError, describe_os_error
from shared.identity import folder as identity
from shared.secure_aggregation.trust import Signer
from worker_node.guarding.set_up import Guarding
from worker_node.membership.peers import pinned

_COLUMNS = ("time", "coordinator", "message", "label", "spam")


@dataclass(frozen=True)
class SealingTerms:
    """One node's.

    signer: reads certificate, key and list of revoked certificates, for each session anew.
    pinned: fingerprints of the keys of those whom the owner shares messages with, by node id.
    scores: file that scores of the owner's messages are added to; None where none can be kept.
    """

    signer: Callable[[], Signer]
    pinned: Mapping[str, str]
    scores: Path | None

    def keep(
        self, coordinator: str, first: int, labels: Sequence[int], spam: Sequence[float]
    ) -> None:
        """Adds scores to the file, as CSV.

        Args:
            first: number of the first message, counted from 1 among the held-out ones.
            labels: 1 for spam. spam: probabilities.

        Raises:
            StorageError: they cannot be written.
        """
        assert self.scores is not None
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            with self.scores.open("a", encoding="utf-8", newline="") as file:
                if not file.tell():
                    rows.writerow(_COLUMNS)
                for place, (label, score) in enumerate(zip(labels, spam, strict=True)):
                    word = ("ham", "spam")[label]
                    rows.writerow((now, coordinator, first + place, word, f"{score:.4f}"))
                file.write(text.getvalue())
        except OSError as error:
            raise StorageError(
                f"cannot write {self.scores}", describe_os_error(error), "Make room there."
            ) from error


def find_sealing(guarding: Guarding) -> SealingTerms | None:
    """From the owner's policy and identity folder; None where the node has no certificate.

    Raises UsageError where the policy names somebody whose key is not pinned.
    """
    folder = guarding.identity
    if folder is None:
        return None
    names = guarding.policy.shared.messages_with
    keys = pinned(folder, names, "shared.messages_with")
    counts = guarding.counts
    scores = counts.with_name(f"{counts.stem}.scores.csv") if counts is not None else None
    return SealingTerms(lambda: Signer.of(identity.load(folder, "node")), keys, scores)
