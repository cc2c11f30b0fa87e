"""`python -m server invite` and `listen`: owners join with one line."""

from __future__ import annotations

import asyncio
import json
import platform
import shlex
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from server.cli.authority import authority_option, days_option, json_option
from server.cli.options import listen_option
from shared.cli import command, identity_option, say

if TYPE_CHECKING:
    from server.authority.invitations import Invitations, Invited

PORT = 8770
LOOK_SECONDS = 1.0
"""Between two looks at the invitations, which other commands and the clock change too."""


@command(
    "invite",
    "python -m server invite bob --at coordinator.example:8770",
    "python -m server invite bob --valid 2",
    "python -m server invite --list",
    "python -m server invite bob --revoke",
)
@click.argument("node", metavar="NODE", required=False)
@click.option(
    "--at",
    metavar="HOST:PORT",
    envvar="FEDSMS_AT",
    show_envvar=True,
    help="Where owners reach this coordinator.  [default: as last time; at first this machine's "
    "name, port 8770]",
)
@click.option(
    "--valid",
    type=click.FloatRange(min=0, max=365, min_open=True),
    default=1.0,
    show_default=True,
    metavar="DAYS",
    help="How long the line works.",
)
@click.option("--replace", is_flag=True, help="Revoke what another key has of this name, then.")
@click.option("--revoke", is_flag=True, help="Take the open invitation of NODE back.")
@click.option("--list", "show", is_flag=True, help="Say who was invited, and what became of it.")
@authority_option
@days_option
@json_option
def invite(
    node: str | None,
    at: str | None,
    valid: float,
    replace: bool,
    revoke: bool,
    show: bool,
    authority: Path,
    days: int,
    as_json: bool,
) -> None:
    """Print one line to send to an owner, by which node NODE joins. It holds a secret.

    It works once, while `up`, `train --listen` or `listen` runs here. Send it on a way that you
    trust as you trust the owner; where you have none, carry files: init, admit, join.
    """
    from server.authority.folder import open_authority
    from server.authority.invitations import Invitations
    from shared.errors import UsageError
    from shared.identity.invitation import COMMAND
    from shared.identity.names import check_node_id

    invitations = Invitations(open_authority(authority))
    if show:
        _show(invitations.all(), as_json)
        return
    if node is None:
        raise UsageError("nobody is named", next_step="Say who: python -m server invite bob")
    check_node_id(node)
    if revoke:
        invitations.revoke(node)
        click.echo(f"The invitation of {node} works no more.")
        return
    place = at or invitations.place() or f"{platform.node()}:{PORT}"
    made = invitations.invite(node, place, timedelta(days=valid), days, replace)
    if as_json:
        click.echo(json.dumps({"node": node, "at": place, "line": made.line}))
        return
    click.echo(
        f"Send this line to the owner of {node}, and to nobody else. It works once, for", err=True
    )
    click.echo(
        f"{_in_words(valid)}, and has {node} dial {place} (--at names another place):", err=True
    )
    say(f"{COMMAND}{shlex.quote(made.line)}")


def _show(invitations: list[Invited], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in invitations]))
        return
    from server.display.fitting import print_table
    from server.display.tables import invited_table

    print_table(invited_table(invitations))


def _in_words(days: float) -> str:
    return "a day" if days == 1 else f"{days:g} days"


@command(
    "listen",
    "python -m server listen",
    "python -m server listen --listen 0.0.0.0:443 --until-joined",
)
@listen_option
@click.option(
    "--until-joined", is_flag=True, help="Stop as soon as no invitation is open any more."
)
@authority_option
@identity_option
def listen(listen: str | None, until_joined: bool, authority: Path, identity: Path) -> None:
    """Take invitations at this coordinator's port, until Ctrl-C; `train --listen` does so too."""
    from server.authority.folder import open_authority
    from server.authority.invitations import Invitations
    from server.cli.interrupts import run_until_signal

    invitations = Invitations(open_authority(authority))
    where = listen or f"0.0.0.0:{PORT}"
    run_until_signal(_receive(invitations, where, identity, until_joined))


async def _receive(
    invitations: Invitations, where: str, identity: Path, until_joined: bool
) -> None:
    from server.nodes.addresses import parse_listen
    from server.nodes.port import open_port
    from server.nodes.reception import Reception
    from shared.errors import UsageError
    from shared.wire.urls import is_secure

    url = parse_listen(where)
    if not is_secure(url):
        raise UsageError("invitations are taken over TLS alone", next_step="Leave out ws://.")
    changed = asyncio.Event()

    def tell(node: str, origin: str) -> None:
        click.echo(f"node {node} has joined from {origin}")
        changed.set()

    async with open_port(url, (), identity, reception=Reception(invitations, tell)) as port:
        click.echo(f"Takes invitations at {port.url}. Ctrl-C stops it.", err=True)
        if until_joined:
            await _all_joined(invitations, changed)
        else:
            await asyncio.Event().wait()


async def _all_joined(invitations: Invitations, changed: asyncio.Event) -> None:
    """Waits until none is open; raises NodeUnreachable where one of them came to nothing."""
    from shared.errors import NodeUnreachable

    awaited: set[str] = set()
    while open_now := {one.id for one in invitations.all() if one.state == "open"}:
        awaited |= open_now
        # others revoke and invite meanwhile, and time passes
        with suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), LOOK_SECONDS)
        changed.clear()
    left = [one for one in invitations.all() if one.id in awaited and one.state != "joined"]
    if left:
        raise NodeUnreachable(
            f"{', '.join(sorted(one.node for one in left))} did not join",
            ", ".join(f"the invitation of {one.node} is {one.state}" for one in left),
            "Invite again: python -m server invite NODE",
        )


COMMANDS = (invite, listen)
