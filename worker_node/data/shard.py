"""One owner's shard: which messages the node trains on, and which it only measures with.

The held-out rows are a file of their own, or a fraction of the data chosen by each text's hash:
equal texts always land on the same side, so no held-out row was trained on, and a row that is
added later moves no other.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import nsmallest
from pathlib import Path
from typing import Any

import mmh3

from shared.errors import DataError, UsageError
from shared.model.metrics import auc_error
from worker_node.data import SCORED_ROWS
from worker_node.data.messages import (
    LABELS,
    Layout,
    Message,
    OnRows,
    Reading,
    Skipped,
    read_messages,
)
from worker_node.data.packed_messages import PackedMessages, in_utf8, labels_of

__all__ = ["Message", "Shard", "load_shard", "read_messages", "split_held_out"]

# Any fixed numbers would do; other ones than shared/model/text.py hashes words with.
_SEED = 0x5EED
_SCORED_SEED = 0x5C03ED

_USUAL_AUC = 0.995


@dataclass(frozen=True)
class Shard:
    """An owner's messages, in the order of the file.

    train: rows the model is trained on.
    held_out: rows the model is only measured with; may be empty.
    skipped: bad rows that were passed over, counted by reason and label.
    described: how each file was read, a line each.
    most_scored: held-out rows that models are measured with, at most; 0 sets no limit.
    """

    train: Sequence[Message]
    held_out: Sequence[Message] = ()
    skipped: Skipped = field(default_factory=dict)
    described: tuple[str, ...] = ()
    most_scored: int = SCORED_ROWS

    def label_counts(self) -> dict[str, dict[str, int]]:
        """{"train": {"ham": n, "spam": n}, "held_out": {"ham": n, "spam": n}}."""
        return {"train": count_labels(self.train), "held_out": count_labels(self.held_out)}

    @cached_property
    def scored(self) -> Sequence[Message]:
        """The held-out rows that models are measured with, as `drawn_once` has them."""
        if not 0 < self.most_scored < len(self.held_out):
            return self.held_out
        chosen = drawn_once(len(self.held_out), self.most_scored)
        return _packed(self.held_out).choice(chosen)

    def scored_lines(self) -> list[str]:
        """For the owner: how many of the held-out rows are scored, and what that costs."""
        held_out, scored = len(self.held_out), len(self.scored)
        if scored == held_out:
            return []
        counts = count_labels(self.scored)
        error = auc_error(_USUAL_AUC, counts["spam"], counts["ham"])
        costs = "they are of one class, and have no ROC AUC"
        if error is not None:
            costs = (
                f"the standard error of a ROC AUC of {_USUAL_AUC:.1%} is {100 * error:.2f} points"
            )
        drawn = f"scores {scored:,} of {held_out:,} held-out messages, the same ones each time"
        return [f"{drawn} (most_scored_rows of the policy); {costs}"]

    def told_counts(self) -> dict[str, dict[str, int]]:
        """As `label_counts`, of the rows that coordinators hear of."""
        return {"train": count_labels(self.train), "held_out": count_labels(self.scored)}

    def skipped_shares(self) -> dict[str, float]:
        """{"ham": share, "spam": share} of each label's rows that were skipped, from 0 to 1.

        Rows whose label cannot be told count for neither.
        """
        counts = self.label_counts()
        shares = {}
        for name in LABELS:
            kept = sum(part[name] for part in counts.values())
            lost = sum(by_label.get(name, 0) for by_label in self.skipped.values())
            shares[name] = lost / max(1, lost + kept)
        return shares

    def told_of_skipped(self, by_label: bool) -> dict[str, float]:
        """What the handshake tells: shares by label, or {"all": share}; empty where none were."""
        if not self.skipped:
            return {}
        if by_label:
            return self.skipped_shares()
        lost = sum(sum(counts.values()) for counts in self.skipped.values())
        return {"all": lost / (lost + len(self.train) + len(self.held_out))}

    def held_out_rows_trained_on(self) -> int:
        """Held-out rows whose text is also in train; measuring on them flatters the model."""
        held_out = Counter(in_utf8(self.held_out))  # the fewer, in nearly every shard
        return sum(held_out.pop(text, 0) for text in in_utf8(self.train))


def drawn_once(rows: int, most: int) -> Sequence[int]:
    """The numbers of `most` of the rows, rising, as if drawn by chance; all where they are fewer.

    They hang on how many rows there are and on nothing else, so that each round and each run
    measures with the same ones; of a file that has grown at its end, hardly others. Evenly spaced
    ones would not do: a file of ham and spam in turns would give one class alone.

    Args:
        most: 0 takes all.
    """
    if not 0 < most < rows:
        return range(rows)
    by_chance = ((mmh3.hash(row.to_bytes(8, "little"), _SCORED_SEED), row) for row in range(rows))
    return sorted(row for _, row in nsmallest(most, by_chance))


def drawn_evenly(rows: int, most: int) -> Sequence[int]:
    """The numbers of up to `most` of the rows, the same ones each time; all where they are fewer.

    The rows of a file may lie in order of time or label, so they are from all over it.
    """
    return range(rows) if rows <= most else [place * rows // most for place in range(most)]


def load_shard(
    data: Path,
    *,
    held_out_file: Path | None = None,
    held_out_fraction: float = 0.2,
    layout: Layout | None = None,
    skip_bad_lines: bool = False,
    allow_one_class: bool = False,
    on_rows: OnRows = lambda rows: None,
) -> Shard:
    """Reads and checks an owner's messages; see worker_node/data/messages.py for the formats.

    Args:
        data: the owner's file.
        held_out_file: rows to measure with; `data` is then trained on as a whole. None holds out
            a part of `data`.
        held_out_fraction: that part, 0 up to but not 1; 0 holds nothing out.
        layout: what the owner says of both files; what they do not say is found out.
        skip_bad_lines: counts bad rows by reason and label instead of stopping at the first one.
        allow_one_class: accepts training rows that are all ham or all spam.
        on_rows: called with the rows of a file that are read, some thousand apart.

    Raises:
        UsageError: the fraction is out of bounds.
        DataError: a file is missing or malformed, or there is too little in it to train on.
    """
    if not 0 <= held_out_fraction < 1:
        raise UsageError(
            f"the held-out fraction is {held_out_fraction}", "it must be at least 0 and below 1"
        )
    reading = read_messages(data, layout, skip_bad_lines=skip_bad_lines, on_rows=on_rows)
    readings = [reading]
    if held_out_file is None:
        train, held_out = split_held_out(reading.messages, held_out_fraction)
    else:
        more: dict[str, Any] = {"skip_bad_lines": skip_bad_lines, "on_rows": on_rows}
        other = read_messages(held_out_file, layout, **more)
        train, held_out = reading.messages, other.messages
        readings.append(other)
    if not allow_one_class:
        check_classes(data, train)
    described = tuple(dict.fromkeys(one.described for one in readings))
    return Shard(train, held_out, _skipped(readings), described)


def _skipped(readings: Sequence[Reading]) -> dict[str, dict[str, int]]:
    together: dict[str, Counter[str]] = {}
    for reading in readings:
        for reason, by_label in reading.skipped.items():
            together.setdefault(reason, Counter()).update(by_label)
    return {reason: dict(by_label) for reason, by_label in together.items()}


def split_held_out(
    messages: Sequence[Message], fraction: float
) -> tuple[Sequence[Message], Sequence[Message]]:
    """Splits rows into (train, held out), each in the order given.

    A class whose texts would all fall on one side by chance lends its nearest one to the other
    side, so that both sides know both classes wherever a class has two different texts.

    Args:
        fraction: the share of rows to hold out, met on average; 0 holds nothing out.
    """
    if fraction == 0:
        return messages, ()
    packed = _packed(messages)
    lent = _lent(packed, fraction)
    aside, others = array("I"), array("I")
    for row, text in enumerate(packed.in_utf8()):
        is_aside = _place(text) < fraction if lent is None else text in lent
        (aside if is_aside else others).append(row)
    return packed.choice(others), packed.choice(aside)


def _packed(messages: Sequence[Message]) -> PackedMessages:
    return messages if isinstance(messages, PackedMessages) else PackedMessages(messages)


def _lent(messages: PackedMessages, fraction: float) -> set[bytes] | None:
    """The texts to hold out where a class lends one; None where each is on both sides anyway."""
    labels = messages.labels
    missing = {(label, side) for label in set(labels) for side in (False, True)}
    for label, text in zip(labels, messages.in_utf8(), strict=True):
        missing.discard((label, _place(text) < fraction))
        if not missing:
            return None
    aside: set[bytes] = set()
    for wanted in LABELS.values():
        texts = {
            text for label, text in zip(labels, messages.in_utf8(), strict=True) if label == wanted
        }
        ranked = sorted((_place(text), text) for text in texts)
        count = sum(place < fraction for place, _ in ranked)
        count = min(max(count, 1), len(ranked) - 1)  # one text alone is trained on
        aside.update(text for _, text in ranked[: max(count, 0)])
    return aside


def count_labels(messages: Sequence[Message]) -> dict[str, int]:
    """{"ham": n, "spam": n}."""
    labels = labels_of(messages)
    return {name: labels.count(label) for name, label in LABELS.items()}


def _place(text: bytes) -> float:
    """Where a text, in UTF-8, stands in [0, 1), evenly spread and the same on every machine."""
    return mmh3.hash(text, _SEED, signed=False) / 2**32


def check_classes(data: object, train: Sequence[Message]) -> None:
    """Raises DataError where there are only ham or only spam to train on.

    Args:
        data: where the rows are from, for the error.
    """
    counts = count_labels(train)
    for name, count in counts.items():
        if not count:
            raise DataError(
                f"{data} has no {name} to train on",
                f"all of its {len(train)} training rows are of one class",
                "A shard needs both; --allow-one-class serves it all the same.",
            )
