"""`python -m server train`: its flags, and what it prints at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from server.cli.authority import authority_option
from server.cli.federations import federation_of
from server.cli.options import (
    DIALLING_IN,
    TWO_NODES,
    federation_option,
    insecure_option,
    json_option,
    listen_option,
    node_option,
)
from server.cli.setting_options import given, in_groups, is_typed, setting_options, typed
from server.runs.setting import Group
from shared.cli import command, identity_option, say

OTHERS = {
    Group.WHO: ("federation", "node", "listen", "authority", "identity", "insecure"),
    Group.FAILS: ("run_folder",),
    Group.WHERE: ("as_json",),
}
"""Flags that are no settings."""

resume_option = click.option(
    "--resume",
    "run_folder",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with the run in this folder after its last completed round, with its own settings.",
)


@command(
    "train",
    f"python -m server train {TWO_NODES}",
    f"python -m server train {DIALLING_IN}",
    f"python -m server train {TWO_NODES} --recipe tutorial --seed 7",
    f"python -m server train {TWO_NODES} --compare",
    f"python -m server train {TWO_NODES} --recipe tutorial --mode pointers --replay",
    "python -m server train --federation federation.toml --json",
    f"python -m server train {TWO_NODES} --min-nodes 0.8 --round-deadline 120",
    "python -m server train --resume runs/20261122-170501-default",
    groups=in_groups(OTHERS),
)
@federation_option
@node_option
@listen_option
@authority_option
@identity_option
@insecure_option
@resume_option
@setting_options
@json_option
def train(
    node: tuple[str, ...],
    listen: str | None,
    authority: Path,
    identity: Path,
    insecure: bool,
    as_json: bool,
    run_folder: Path | None,
    **_: Any,
) -> None:
    """Train on all nodes, a round at a time, and leave a run folder."""
    from server.cli.compare import print_worth
    from server.cli.interrupts import run_until_signal
    from server.display.fitting import print_table
    from server.display.page.html import CHARTS_MISSING, chart_scripts
    from server.federation.results import table_of

    context = click.get_current_context()
    settings = given(context)
    if run_folder is not None:  # what decides the weights is the run's own
        settings = typed(context)
        node = node if is_typed(context, "node") else ()
        listen = listen if is_typed(context, "listen") or node else None
    federation = federation_of(node, listen, identity, insecure, authority=authority)
    run = run_until_signal(
        federation.train(
            resume=run_folder,
            progress="json" if as_json else "bars",
            **settings,
        )
    )
    worth = run.comparison if run.settings.get("compare") else None
    if as_json:
        told = {"run": str(run.path), "status": run.status}
        click.echo(json.dumps(told if worth is None else {**told, "comparison": worth.as_dict()}))
    else:
        rounds = run.rounds
        print_table(table_of(rounds))
        if rounds and rounds[-1].by_owner:
            print_table(rounds[-1].table())
        if worth is not None:
            print_worth(worth)
        click.echo(f"The model and all figures are in {run.path}")
        if not chart_scripts():
            say(f"Its report.html has no charts: {CHARTS_MISSING}", err=True)
