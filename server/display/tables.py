"""Rounds, metrics and certificates as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING

from server.display.fitting import Column, Fitted
from server.display.words import megabytes, percent
from server.rounds.records import Round
from shared.model.metrics import Metrics

if TYPE_CHECKING:  # nothing of certificates is loaded to show metrics
    from server.authority.folder import Issued
    from server.authority.invitations import Invited

_SHARES = {
    "AUC %": ("roc_auc", "AUC\n%"),
    "AP %": ("average_precision", "AP\n%"),
    "precision %": ("precision", "preci-\nsion %"),
    "recall %": ("recall", "recall\n%"),
    "F1 %": ("f1", "F1\n%"),
    "MCC %": ("mcc", "MCC\n%"),
}
_COUNTS = {
    "TN": "true_negatives",
    "FP": "false_positives",
    "FN": "false_negatives",
    "TP": "true_positives",
}
Figures = Mapping[str, float | int | None]


def metrics_table(title: str, each: Mapping[str, Metrics], overall: Metrics) -> Fitted:
    """Held-out metrics: a row a node and one for all nodes; where there are several nodes, also the
    mean and the worst of each figure among those that have it."""
    owners = [one.as_dict() for one in each.values()]
    names: list[str] = [*each]
    rows: list[Figures] = [*owners]
    if len(owners) > 1:
        # no node's id holds a blank
        names += ["mean of owners", "worst of owners"]
        rows += [_mean(owners), _worst(owners)]
    names.append("all")
    rows.append(overall.as_dict())
    return Fitted(
        title,
        [
            Column("node", names),
            Column("rows", _whole(rows, "rows"), right=True),
            *_figures(rows),
            *(Column(name, _whole(rows, key), right=True) for name, key in _COUNTS.items()),
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
        *_figures([record.metrics.as_dict() for record in records]),
        Column("seconds", [f"{record.seconds:.2f}" for record in records], "sec-\nonds", True),
        Column("MB out", [megabytes(count) for count in sent], "MB\nout", True),
        Column("MB in", [megabytes(count) for count in received], "MB\nin", True),
    ]
    if any(record.without for record in records):
        names = [", ".join(sorted(record.without)) for record in records]
        columns.append(Column("left out", names, wraps=True))
    return Fitted("Rounds (metrics on all owners' held-out rows)", columns)


def _mean(rows: Sequence[Figures]) -> Figures:
    """Of each figure, over the rows that have it."""
    return {name: mean(known) if (known := _known(rows, name)) else None for name in _measured()}


def _worst(rows: Sequence[Figures]) -> Figures:
    """The lowest of each figure, and the highest loss."""
    found: dict[str, float | int | None] = {
        name: min(_known(rows, name), default=None) for name in _measured()
    }
    return {**found, "loss": max(_known(rows, "loss"), default=None)}


def _measured() -> list[str]:
    return ["loss", *(key for key, _ in _SHARES.values())]


def _known(rows: Sequence[Figures], name: str) -> list[float]:
    return [value for row in rows if (value := row.get(name)) is not None]


def _whole(rows: Sequence[Figures], name: str) -> list[str]:
    return ["" if name not in row else str(row[name]) for row in rows]


def _figures(rows: Sequence[Figures]) -> list[Column]:
    losses = [row["loss"] for row in rows]
    return [
        Column("loss", ["-" if loss is None else f"{loss:.4f}" for loss in losses], right=True),
        *(
            Column(name, [percent(row[key]) for row in rows], narrow, right=True)
            for name, (key, narrow) in _SHARES.items()
        ),
    ]


def invited_table(invited: Sequence[Invited]) -> Fitted:
    """Who was invited, oldest first, and what became of it."""
    from shared.identity.certificates import moment_in_words

    joined = [moment_in_words(one.joined) if one.joined else "-" for one in invited]
    return Fitted(
        "Invitations",
        [
            Column("node", [one.node for one in invited]),
            Column("state", [one.state for one in invited]),
            Column("until", [moment_in_words(one.until) for one in invited]),
            Column("wrong secrets", [str(one.wrong) for one in invited], right=True),
            Column("joined", joined),
            Column("from", [one.origin or "-" for one in invited]),
            Column("fingerprint of the key", [one.key or "-" for one in invited]),
        ],
    )


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
