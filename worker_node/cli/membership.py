"""The owner's commands that make a node a member of a federation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from shared.cli import command, identity_option, say

if TYPE_CHECKING:
    from worker_node.membership.enrolment import Joined


@command("init", "python -m worker_node init --id bob")
@click.option(
    "--id", "node_id", required=True, envvar="FEDSMS_ID", show_envvar=True, help="The owner's name."
)
@identity_option
def init(node_id: str, identity: Path) -> None:
    """Make this node's key, which stays here, and a request for the coordinator's owner."""
    from shared.identity.names import check_node_id
    from worker_node.guarding.policy_file import write_example
    from worker_node.membership.enrolment import make_request

    path, key_print = make_request(identity, check_node_id(node_id))
    policy = write_example(identity)
    click.echo(f"The request of node {node_id} is {path}; its private key stays in {identity}.")
    click.echo(f"  fingerprint of its key: {key_print}")
    click.echo("Send the request to the coordinator's owner, and tell the fingerprint on another")
    click.echo("way, by telephone for instance. Install the file that comes back with:")
    where = "" if identity == Path("identity") else f" --identity {identity}"
    say(f"  python -m worker_node join {node_id}.pem{where}")
    if policy is not None:
        click.echo(f"What coordinators may have done on this node stands in {policy}.")


@command(
    "join",
    "python -m worker_node join fedsms:bob@coordinator.example:8770/...",
    "python -m worker_node join -",
    "python -m worker_node join bob.pem",
)
@click.argument("invitation", metavar="INVITATION|FILE.pem|-")
@identity_option
@click.option(
    "--wait",
    type=click.FloatRange(min=0, max=1e6),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="For how long a coordinator is tried that does not answer yet; 0 tries once.",
)
def join(invitation: str, identity: Path, wait: float) -> None:
    """Join a federation: by the line that the coordinator's owner sent, or by a file.

    A line is read from standard input with "-": what is typed as an argument, others on this
    machine may see. The key is made here, and stays here.
    """
    from worker_node.membership.enrolment import join as install

    if invitation == "-" or invitation.startswith("fedsms:"):
        _join_by_line(invitation, identity, wait)
        return
    joined = install(Path(invitation), identity)
    _say_joined(joined, identity)
    say("A node that runs takes this up at its next start: python -m worker_node serve ...")


def _join_by_line(text: str, identity: Path, wait: float) -> None:
    import asyncio
    import sys

    from shared.identity.invitation import parse_invitation
    from worker_node.guarding.policy_file import write_example
    from worker_node.membership.joining import join_by_invitation

    line = sys.stdin.readline(10_000) if text == "-" else text
    invitation = parse_invitation(line)
    joining = join_by_invitation(
        invitation, identity, wait=wait, tell=lambda words: click.echo(words, err=True)
    )
    joined = asyncio.run(joining)
    policy = write_example(identity)
    _say_joined(joined, identity)
    click.echo(
        f"It dials {invitation.url}; its private key was made in {identity}, and stays there."
    )
    if policy is not None:
        click.echo(f"What coordinators may have done on this node stands in {policy}.")
    say("Next: python -m worker_node serve --data FILE")


def _say_joined(joined: Joined, identity: Path) -> None:
    click.echo(f"{joined.name} belongs to {joined.federation}, until {joined.valid_until}.")
    click.echo(f"  fingerprint of its CA: {joined.ca_fingerprint}")
    click.echo(f"It works with: {', '.join(joined.coordinators) or 'no coordinator'}")
    for name in joined.not_listed:
        click.echo(f"Not with {name}: add it to {identity / 'coordinators.txt'} if it should.")


COMMANDS = (init, join)
