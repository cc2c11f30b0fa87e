"""`python -m server up`: a coordinator that stays; and `train --up`, which asks it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server.cli.authority import authority_option
from server.cli.federations import federation_of
from server.cli.metrics import metrics_at, metrics_option
from server.cli.options import federation_option, insecure_option, listen_option, node_option
from server.cli.setting_options import given, in_groups, setting_options
from server.runs.setting import Group
from shared.cli import command, identity_option, say

if TYPE_CHECKING:
    from server.federation.run import Run

OTHERS = {
    Group.WHO: ("federation", "node", "listen", "authority", "identity", "insecure"),
    Group.WHERE: ("page", "metrics"),
}
"""Flags that are no settings."""
PORT = 8770


@command(
    "up",
    "python -m server up",
    "python -m server up --listen 0.0.0.0:443 --node bob --node anne --page",
    "python -m server up --at 02:00 --when min_nodes --min-nodes 3",
    "python -m server train --up --rounds 5",
    groups={**in_groups(OTHERS), "When it trains": ("at", "when")},
)
@federation_option
@node_option
@listen_option
@authority_option
@identity_option
@insecure_option
@click.option(
    "--at",
    multiple=True,
    metavar="HH:MM",
    help="Begin a run each day at this time of this machine's. May be given several times.",
)
@click.option(
    "--when",
    type=click.Choice(["min_nodes"]),
    help="min_nodes: begin a run as soon as --min-nodes are here; with --at, from that time on, "
    "else whenever a node has come that the last run did not have.",
)
@setting_options
@click.option("--page", is_flag=True, help="Serve each run as a live page, as `train --page` does.")
@metrics_option
def up(
    node: tuple[str, ...],
    listen: str | None,
    authority: Path,
    identity: Path,
    insecure: bool,
    at: tuple[str, ...],
    when: str | None,
    page: bool,
    metrics: str | None,
    **_: Any,
) -> None:
    """Stay: listen for nodes, take invitations, and train when `train --up` asks for it.

    The settings are those of its runs. SIGTERM and Ctrl-C end it, and a run that goes on with it;
    the next `up` goes on with that run.
    """
    from server.cli.interrupts import run_until_signal
    from server.display.words import notice_line
    from server.standing.coordinator import StandingCoordinator, Ways
    from server.standing.schedule import parse_schedule
    from shared.errors import Interrupted

    settings = given(click.get_current_context())
    where = listen or f"0.0.0.0:{PORT}"
    federation = federation_of(node, where, identity, insecure, authority=authority, **settings)
    try:
        with metrics_at(metrics) as watching:
            ways = Ways(
                tell=lambda node, words: say(notice_line(0, node, words), err=True),
                page=(lambda address: say(f"Follow the run at {address}", err=True))
                if page
                else None,
                metrics=watching,
            )
            staying = StandingCoordinator(federation, parse_schedule(at, when), ways)
            run_until_signal(staying.stay())
    except Interrupted as ended:  # which is how it ends
        say(f"stopped: {ended}" if ended.next_step else "stopped", err=True)


async def ask_for_a_run(identity: Path, settings: dict[str, Any], as_json: bool) -> Run:
    """Has the coordinator that stays train, and follows the run.

    Raises:
        NodeUnreachable: there is none, or it has gone. FedsmsError: what the run ended with.
    """
    from server.federation.run import Run
    from server.standing.asking import ask, error_from_json
    from shared.errors import NodeUnreachable

    async for told in ask(identity, {"settings": _to_send(settings)}):
        if "error" in told:
            raise error_from_json(told["error"])
        if "run" in told:
            return Run(Path(told["run"]))
        if as_json:
            for row in told.get("rows", ()):
                click.echo(json.dumps(row))
        if not as_json or "rows" not in told:
            say(told["line"], err=True)
    raise NodeUnreachable(
        "the coordinator that stays has ended",
        next_step="Start it again: python -m server up goes on with the run.",
    )


def _to_send(settings: dict[str, Any]) -> dict[str, Any]:
    """Paths as they are seen from anywhere."""
    sent = {
        name: str(value.resolve()) if isinstance(value, Path) else value
        for name, value in settings.items()
    }
    if "recipe" in sent and Path(sent["recipe"]).is_file():
        sent["recipe"] = str(Path(sent["recipe"]).resolve())
    return sent
