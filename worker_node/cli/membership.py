"""The owner's commands that make a node a member of a federation."""

from __future__ import annotations

from pathlib import Path

import click

from shared.cli import command, identity_option, say


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


@command("join", "python -m worker_node join bob.pem")
@click.argument("answer_file", metavar="FILE.pem", type=click.Path(path_type=Path))
@identity_option
def join(answer_file: Path, identity: Path) -> None:
    """Check and install what the coordinator's owner sent back."""
    from worker_node.membership.enrolment import join as install

    joined = install(answer_file, identity)
    click.echo(f"{joined.name} belongs to {joined.federation}, until {joined.valid_until}.")
    click.echo(f"  fingerprint of its CA: {joined.ca_fingerprint}")
    click.echo(f"It works with: {', '.join(joined.coordinators) or 'no coordinator'}")
    for name in joined.not_listed:
        click.echo(f"Not with {name}: add it to {identity / 'coordinators.txt'} if it should.")
    say("A node that runs takes this up at its next start: python -m worker_node serve ...")


COMMANDS = (init, join)
