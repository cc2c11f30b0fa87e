"""`python -m server compare`: was it worth joining?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from server.cli.federations import federation_of
from server.cli.options import (
    federation_option,
    insecure_option,
    json_option,
    listen_option,
    node_option,
    run_dir_option,
)
from server.cli.setting_options import is_typed, option_of
from server.runs.settings import BY_NAME
from shared.cli import command, identity_option, say

if TYPE_CHECKING:
    from server.federation.results import Worth


@command(
    "compare",
    "python -m server compare runs/20261122-170501-default",
    "python -m server compare --json",
    "python -m server compare RUN --node bob=wss://10.0.0.9:8777 --node anne=wss://10.0.0.8:8777",
)
@click.argument("run", required=False, type=click.Path(path_type=Path))
@federation_option
@node_option
@listen_option
@identity_option
@insecure_option
@run_dir_option
@option_of(BY_NAME["secure_aggregation"])
@json_option
def compare(
    run: Path | None,
    node: tuple[str, ...],
    listen: str | None,
    identity: Path,
    insecure: bool,
    run_dir: Path,
    secure_aggregation: str,
    as_json: bool,
) -> None:
    """Say what joining was worth to each owner of a RUN, by default the newest.

    Each node trains alone, as many rounds of the same recipe, and measures that model beside the
    federated one on its own held-out rows. RUN's nodes are asked where they were, unless --node
    says where they are now.
    """
    from server.cli.interrupts import run_until_signal

    context = click.get_current_context()
    own = {"secure_aggregation": secure_aggregation}
    given = own if is_typed(context, "secure_aggregation") else {}
    where = node if is_typed(context, "node") else ()
    at = listen if is_typed(context, "listen") or where else None
    federation = federation_of(where, at, identity, insecure, run_dir=run_dir, **given)
    worth = run_until_signal(federation.compare(run, progress=None if as_json else "bars"))
    if run is None:
        say(f"The newest run: {worth.run}", err=True)
    if as_json:
        click.echo(json.dumps(worth.as_dict()))
    else:
        print_worth(worth)
        click.echo(f"All figures are in {Path(worth.run) / 'comparison.json'}")


def print_worth(worth: Worth) -> None:
    """The table, and what it says."""
    from server.display.fitting import print_table

    print_table(worth.table())
    for line in worth.verdict():
        click.echo(line)
