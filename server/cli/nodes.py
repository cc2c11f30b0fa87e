"""`python -m server status` and `evaluate`: what is asked of nodes without training."""

from __future__ import annotations

import json
from pathlib import Path

import click

from server.cli.given_nodes import Given
from server.cli.options import (
    TWO_NODES,
    federation_option,
    insecure_option,
    json_option,
    model_option,
    node_option,
    run_dir_option,
)
from shared.cli import command, identity_option


@command("status", f"python -m server status {TWO_NODES}")
@federation_option
@node_option
@identity_option
@insecure_option
@json_option
def status(node: tuple[str, ...], identity: Path, insecure: bool, as_json: bool) -> int:
    """Say which nodes answer, and with what. Exits with 4 or 5 where one does not."""
    from server.display.fitting import print_table
    from server.display.status_table import status_table
    from server.nodes.status import ask_all
    from server.runs.interrupts import run_until_signal

    statuses = run_until_signal(ask_all(Given(node, identity, insecure).addresses(), identity))
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in statuses]))
    else:
        print_table(status_table(statuses))
    failed = [one.error for one in statuses if one.error is not None]
    for error in failed:
        click.echo(f"error: {error}", err=True)
    return max((error.exit_code for error in failed), default=0)


@command(
    "evaluate",
    f"python -m server evaluate {TWO_NODES}",
    f"python -m server evaluate --model runs/20261122-170501-default {TWO_NODES} --json",
)
@federation_option
@node_option
@identity_option
@insecure_option
@model_option
@run_dir_option
@json_option
def evaluate(
    node: tuple[str, ...],
    identity: Path,
    insecure: bool,
    model: Path | None,
    run_dir: Path,
    as_json: bool,
) -> None:
    """Measure a saved model on the owners' held-out rows."""
    from server.display.fitting import print_table
    from server.display.tables import metrics_table
    from server.runs.evaluation_run import evaluate as run_evaluation
    from server.trained_model.saved_model import open_model

    nodes = Given(node, identity, insecure).addresses()
    folder, saved = open_model(model, run_dir)
    overall, each = run_evaluation(nodes, saved, identity)
    if as_json:
        by_node = {name: metrics.as_dict() for name, metrics in each.items()}
        answer = {"model": str(folder), "all": overall.as_dict(), "nodes": by_node}
        click.echo(json.dumps(answer))
    else:
        print_table(metrics_table(f"{folder} on held-out rows", each, overall))
