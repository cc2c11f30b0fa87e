"""Who answers, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from server.display.fitting import Column, Fitted
from server.nodes.status import NodeStatus
from shared.wire.handshake import Greeting


def status_table(statuses: Sequence[NodeStatus]) -> Fitted:
    """A row a node, with what it says of itself or why it does not answer."""
    rows = [_cells(status) for status in statuses]
    names = ("node", "address", "answers", "train rows", "held-out rows", "spam")
    narrow = {"train rows": "train\nrows", "held-out rows": "held-out\nrows"}
    numbers = ("train rows", "held-out rows", "spam", "round trip")
    wrapped = ("answers", "versions", "busy with")
    return Fitted(
        "Nodes",
        [
            Column(
                name,
                [cells[place] for cells in rows],
                narrow.get(name, ""),
                right=name in numbers,
                wraps=name in wrapped,
            )
            for place, name in enumerate((*names, "versions", "round trip", "busy with"))
        ],
    )


def _cells(status: NodeStatus) -> list[str]:
    address, greeting = status.address, status.greeting
    if greeting is None or status.round_trip is None:
        why = status.error.cause.splitlines()[0] if status.error and status.error.cause else ""
        return [address.id, status.shown_address, f"no: {why or status.error}", *[""] * 6]
    rows, versions = greeting.rows, greeting.versions
    return [
        address.id,
        status.shown_address,
        "yes",
        str(rows.get("train", "-")),
        str(rows.get("held_out", "-")),
        _spam(greeting),
        " ".join(f"{name} {versions.get(name, '-')}" for name in ("fedsms", "syft", "torch")),
        f"{1000 * status.round_trip:.1f} ms",
        greeting.busy or "-",
    ]


def _spam(greeting: Greeting) -> str:
    """Share of spam among all rows, or that the owner does not tell."""
    if greeting.labels is None:
        return "hidden"
    parts = greeting.labels.values()
    spam = sum(part.get("spam", 0) for part in parts)
    rows = sum(sum(part.values()) for part in parts)
    return f"{100 * spam / rows:.1f} %" if rows else "-"
