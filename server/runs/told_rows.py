"""What nodes tell of their rows when a run begins or goes on, and what a person should know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.nodes.link import Link
from shared.reading.lopsided import is_lopsided
from shared.wire.handshake import Greeting


def rows_at_start(links: Mapping[str, Link], before: Mapping[str, Any]) -> dict[str, Any]:
    """The rows that each node told when it was first there, by its id.

    Args:
        before: the same as a stopped run had it; empty for a new run.
    """
    now = {node: told(link.greeting) for node, link in links.items()}
    return {**now, **before}


def told(greeting: Greeting) -> dict[str, Any]:
    """Numbers of rows, of ham and spam where the owner tells them, and the mark of the rows."""
    found = {"rows": dict(greeting.rows), "labels": greeting.labels}
    return {**found, "mark": greeting.rows_mark} if greeting.rows_mark else found


def warnings(links: Mapping[str, Link], at_start: Mapping[str, Any]) -> list[str]:
    """One line each for rows that were skipped by label, and for rows that are others now."""
    lines = []
    for node, link in sorted(links.items()):
        lines += _skipped(node, link.greeting.skipped)
        lines += _changed(node, at_start.get(node), told(link.greeting))
    return lines


def _skipped(node: str, shares: Mapping[str, float]) -> list[str]:
    if not shares:
        return []
    said = " and ".join(
        f"{share:.1%} of its {'rows' if name == 'all' else name}" for name, share in shares.items()
    )
    if is_lopsided(shares):
        return [f"WARNING: node {node} SKIPPED {said.upper()}, which it could not read"]
    return [f"node {node} skipped {said}, which it could not read"]


def _changed(node: str, before: Any, now: Mapping[str, Any]) -> list[str]:
    if not isinstance(before, Mapping) or before == {key: now.get(key) for key in before}:
        return []
    parts = [
        f"{was:,} {part.replace('_', '-')} rows then and {now['rows'].get(part, 0):,} now"
        for part, was in (before.get("rows") or {}).items()
        if was != now["rows"].get(part)
    ]
    what = "; ".join(parts) or (
        "another number of spam among them"
        if before.get("labels") != now.get("labels")
        else "as many of each kind"
    )
    fact = f"node {node} has other rows than when the run began ({what})"
    return [f"WARNING: {fact}: the weights will not be those of a run that nobody stopped"]
