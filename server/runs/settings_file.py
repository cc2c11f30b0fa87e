"""What settings.json of a run folder says: the settings as they were resolved, and who is asked."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from server.nodes.link import Link
from server.runs.resume import StoppedRun
from server.runs.settings import RunSettings, to_json
from server.runs.told_rows import rows_at_start
from shared.version import versions


def resolved(
    settings: RunSettings,
    links: Mapping[str, Link],
    run: str,
    stopped: StoppedRun | None,
    own_rule: str | None,
    secure_sums: bool,
) -> dict[str, Any]:
    """What settings.json says besides the recipe; server/runs/resume.py reads it again.

    Args:
        links: by id, of the nodes that are there.
        run: the run's id.
        stopped: the run that goes on; None for a new one.
        own_rule: the name of an aggregation rule that somebody brought; None for the recipe's.
        secure_sums: whether sums are secure.
    """
    at_start = stopped.rows_at_start if stopped is not None else {}
    return {
        "run": run,
        **to_json(settings),
        "own_rule": own_rule,
        "secure_sums": secure_sums,
        "resumed_after": stopped.resumed_after if stopped is not None else [],
        "rows_at_start": rows_at_start(links, at_start),
        "coordinator": {"host": platform.node(), "versions": versions()},
        "nodes": {
            node.id: {"url": node.url, "dials_in": node.dials_in, **_facts(links.get(node.id))}
            for node in settings.nodes
        },
    }


def _facts(link: Link | None) -> dict[str, Any]:
    """What a node has shown and told of itself; nothing where it is not there yet."""
    if link is None:
        return dict.fromkeys(("certificate", "versions", "rows", "labels", "skipped"))
    greeting = link.greeting
    return {
        "certificate": link.certificate,
        "versions": greeting.versions,
        "rows": greeting.rows,
        "labels": greeting.labels,
        "skipped": greeting.skipped,
    }
