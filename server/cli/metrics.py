"""`--metrics`: figures of runs for Prometheus, while a command lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from shared.cli import say

if TYPE_CHECKING:
    from server.display.run_metrics import RunMetrics

metrics_option = click.option(
    "--metrics",
    metavar="[HOST:]PORT",
    envvar="FEDSMS_METRICS",
    show_envvar=True,
    help="Serve figures of runs for Prometheus, at 127.0.0.1 where no host is named; 0 takes a "
    "free port. With secure aggregation sums alone.",
)


@contextmanager
def metrics_at(text: str | None) -> Iterator[RunMetrics | None]:
    """What follows runs, and is served for as long as the context lasts; None for no place.

    Raises:
        UsageError: it is no place, or nothing can listen there, or the package is absent.
    """
    if text is None:
        yield None
        return
    from server.display.run_metrics import RunMetrics
    from shared.prometheus import new_registry, parse_place, serving_metrics

    place, registry = parse_place(text), new_registry()
    metrics = RunMetrics(registry)
    with serving_metrics(registry, place, _say):
        yield metrics


def _say(address: str) -> None:
    say(f"Metrics for Prometheus are at {address}", err=True)
