"""Rounds, metrics and certificates as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from server.display.fitting import Column, Fitted
from server.display.words import megabytes, percent
from server.rounds.records import Round
from shared.model.metrics import Metrics

if TYPE_CHECKING:  # nothing of certificates is loaded to show metrics
    from server.authority.folder import Issued

_SHARES = {
    "AUC %": "AUC\n%",
    "AP %": "AP\n%",
    "precision %": "preci-\nsion %",
    "recall %": "recall\n%",
    "F1 %": "F1\n%",
}


def metrics_table(title: str, each: Mapping[str, Metrics], overall: Metrics) -> Fitted:
    """Held-out metrics, a row a node and one for all nodes."""
    rows = [*each.values(), overall]
    confusion = {
        "TN": [one.true_negatives for one in rows],
        "FP": [one.false_positives for one in rows],
        "FN": [one.false_negatives for one in rows],
        "TP": [one.true_positives for one in rows],
    }
    return Fitted(
        title,
        [
            Column("node", [*each, "all"]),
            Column("rows", [str(one.rows) for one in rows], right=True),
            *_figures(rows),
            *(
                Column(name, [f"{n}" for n in counts], right=True)
                for name, counts in confusion.items()
            ),
        ],
    )


def rounds_table(records: Sequence[Round]) -> Fitted:
    """A row a round: losses, metrics over all owners' held-out rows, seconds and bytes; and who
    was left out, where somebody was."""
    sent = [sum(node.bytes_sent for node in record.nodes) for record in records]
    received = [sum(node.bytes_received for node in record.nodes) for record in records]
    columns = [
        Column("round", [str(record.number) for record in records], right=True),
        Column("train loss", [f"{record.loss:.4f}" for record in records], "train\nloss", True),
        *_figures([record.metrics for record in records]),
        Column("seconds", [f"{record.seconds:.2f}" for record in records], "sec-\nonds", True),
        Column("MB out", [megabytes(count) for count in sent], "MB\nout", True),
        Column("MB in", [megabytes(count) for count in received], "MB\nin", True),
    ]
    if any(record.without for record in records):
        names = [", ".join(sorted(record.without)) for record in records]
        columns.append(Column("left out", names, wraps=True))
    return Fitted("Rounds (metrics on all owners' held-out rows)", columns)


def _figures(rows: Sequence[Metrics]) -> list[Column]:
    loss = ["-" if one.loss is None else f"{one.loss:.4f}" for one in rows]
    shares: list[list[float | None]] = [
        [one.roc_auc for one in rows],
        [one.average_precision for one in rows],
        [one.precision for one in rows],
        [one.recall for one in rows],
        [one.f1 for one in rows],
    ]
    return [
        Column("loss", loss, right=True),
        *(
            Column(name, [percent(value) for value in values], narrow, right=True)
            for (name, narrow), values in zip(_SHARES.items(), shares, strict=True)
        ),
    ]


def issued_table(issued: Sequence[Issued]) -> Fitted:
    """The federation's certificates, by role and name, oldest first."""
    from shared.identity.certificates import day

    rows = sorted(issued, key=lambda one: (one.role, one.id, one.valid_from))
    return Fitted(
        "Certificates",
        [
            Column("name", [one.id for one in rows]),
            Column("role", [one.role for one in rows]),
            Column("state", [one.state for one in rows]),
            Column("from", [day(one.valid_from) for one in rows]),
            Column("until", [day(one.valid_until) for one in rows]),
            Column("revoked", [day(one.revoked) if one.revoked else "-" for one in rows]),
            Column("fingerprint of the key", [one.key for one in rows]),
        ],
    )
