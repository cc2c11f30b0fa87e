"""What people read of a round, in words and in one line."""

from __future__ import annotations

from server.rounds.records import Round


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def megabytes(count: int) -> str:
    return f"{count / 1e6:.2f}"


def round_line(record: Round) -> str:
    """One round in one line, for logs."""
    metrics = record.metrics
    size = sum(node.bytes_sent + node.bytes_received for node in record.nodes)
    return (
        f"round {record.number:>{len(str(record.rounds))}}/{record.rounds}"
        f"  loss {record.loss:.4f}  AUC {percent(metrics.roc_auc)} %"
        f"  AP {percent(metrics.average_precision)} %  F1 {percent(metrics.f1)} %"
        f"  {record.seconds:.2f} s  {megabytes(size)} MB{_without(record)}"
    )


def _without(record: Round) -> str:
    """Who is not in the model, or not in the metrics."""
    names = sorted(record.without)
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "")
    return f"  without {shown}" if names else ""


def notice_line(number: int, node: str, text: str) -> str:
    """A notice in one line, for logs.

    Args:
        number: of the round; 0 before the first.
    """
    when = f"round {number}: " if number else ""
    return f"{when}{f'node {node} ' if node else ''}{text}"
