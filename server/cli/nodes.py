"""`python -m server status` and `evaluate`: what is asked of nodes without training."""

from __future__ import annotations

import json
from pathlib import Path

import click

from server.cli.federations import federation_of
from server.cli.options import (
    DIALLING_IN,
    TWO_NODES,
    federation_option,
    insecure_option,
    json_option,
    listen_option,
    model_option,
    node_option,
    run_dir_option,
)
from server.cli.setting_options import option_of
from server.runs.settings import BY_NAME
from shared.cli import command, identity_option, say


@command(
    "status",
    f"python -m server status {TWO_NODES}",
    f"python -m server status {DIALLING_IN}",
)
@federation_option
@node_option
@listen_option
@identity_option
@insecure_option
@json_option
def status(
    node: tuple[str, ...], listen: str | None, identity: Path, insecure: bool, as_json: bool
) -> int:
    """Say which nodes answer, and with what. Exits with 4 or 5 where one does not."""
    from server.cli.interrupts import run_until_signal
    from server.display.fitting import print_table

    statuses = run_until_signal(federation_of(node, listen, identity, insecure).status())
    if as_json:
        click.echo(json.dumps(statuses.records()))
    else:
        print_table(statuses.table())
    for error in statuses.errors.values():
        say(f"error: {error}", err=True)
    return max((error.exit_code for error in statuses.errors.values()), default=0)


@command(
    "evaluate",
    f"python -m server evaluate {TWO_NODES}",
    f"python -m server evaluate --model runs/20261122-170501-default {TWO_NODES} --json",
)
@federation_option
@node_option
@listen_option
@identity_option
@insecure_option
@model_option
@run_dir_option
@option_of(BY_NAME["secure_aggregation"])
@json_option
def evaluate(
    node: tuple[str, ...],
    listen: str | None,
    identity: Path,
    insecure: bool,
    model: Path | None,
    run_dir: Path,
    secure_aggregation: str,
    as_json: bool,
) -> None:
    """Measure a saved model on the owners' held-out rows."""
    from server.cli.interrupts import run_until_signal
    from server.display.fitting import print_table

    federation = federation_of(
        node, listen, identity, insecure, run_dir=run_dir, secure_aggregation=secure_aggregation
    )
    evaluation = run_until_signal(federation.evaluate(model))
    if model is None:
        click.echo(f"The newest model: {evaluation.model}", err=True)
    if as_json:
        click.echo(json.dumps(evaluation.as_dict()))
    else:
        print_table(evaluation.table())
