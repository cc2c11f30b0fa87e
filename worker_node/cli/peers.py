"""`python -m worker_node peers`: other owners' fingerprints, compared with them and kept."""

from __future__ import annotations

from pathlib import Path

import click

from shared.cli import HELP, GroupWithExamples, command, identity_option
from shared.errors import IdentityError, UsageError


@click.group(
    "peers",
    cls=GroupWithExamples,
    examples=(
        "python -m worker_node peers",
        "python -m worker_node peers add anne 5f:0c:...:e1",
        "python -m worker_node peers compare anne 5f:0c:...:e1",
    ),
    context_settings=HELP,
    invoke_without_command=True,
)
@identity_option
@click.pass_context
def peers(ctx: click.Context, identity: Path) -> None:
    """Keep the fingerprints of other owners' keys, for secure sums that need them ("pinned").

    Without a command: this node's own fingerprint, to be read out to the others, and those that are
    kept.
    """
    ctx.obj = identity
    if ctx.invoked_subcommand is None:
        _show(identity)


@command("add", "python -m worker_node peers add anne 5f:0c:...:e1")
@click.argument("name")
@click.argument("fingerprint", metavar="FINGERPRINT|FILE.pem")
@click.pass_obj
def add(identity: Path, name: str, fingerprint: str) -> None:
    """Write down an owner's fingerprint, once you have compared it with that owner."""
    from shared.identity.names import check_node_id
    from worker_node.membership.peers import PEERS, add_peer, fingerprint_from

    found = fingerprint_from(fingerprint, check_node_id(name))
    before = add_peer(identity, name, found)
    click.echo(f"{name} is kept in {identity / PEERS} as {found}")
    if before is not None:
        click.echo(f"  before it was {before}: a key that changed is worth a question", err=True)
    click.echo('Ask for it in policy.toml: [secure_aggregation] pinned = ["NAME"], fewest_pinned.')


@command("compare", "python -m worker_node peers compare anne 5f:0c:...:e1")
@click.argument("name")
@click.argument("fingerprint", metavar="FINGERPRINT|FILE.pem")
@click.pass_obj
def compare(identity: Path, name: str, fingerprint: str) -> None:
    """Say whether an owner's fingerprint is the one that is kept. Exits with 8 where it is not."""
    from shared.identity.names import check_node_id
    from worker_node.membership.peers import PEERS, fingerprint_from, read_peers

    found, kept = fingerprint_from(fingerprint, check_node_id(name)), read_peers(identity)
    if name not in kept:
        raise UsageError(
            f"{name} is not in {identity / PEERS}",
            next_step=f"Add it: python -m worker_node peers add {name} FINGERPRINT",
        )
    if kept[name] != found:
        raise IdentityError(
            f"the fingerprint of {name} is not the one that is kept",
            f"{found} was given, and {kept[name]} is kept",
            f"Ask {name} whether the key was made anew; if not, somebody else answers for {name}.",
        )
    click.echo(f"{name} has the fingerprint that is kept.")


@command("remove", "python -m worker_node peers remove anne")
@click.argument("name")
@click.pass_obj
def remove(identity: Path, name: str) -> None:
    """Forget an owner's fingerprint."""
    from worker_node.membership.peers import remove_peer

    remove_peer(identity, name)
    click.echo(f"{name} is kept no more.")


def _show(identity: Path) -> None:
    from shared.identity import folder
    from shared.identity.certificates import key_fingerprint
    from worker_node.guarding.policy_file import find_policy
    from worker_node.membership.peers import read_peers

    own = folder.load(identity, "node")
    click.echo(f"{own.name.id} (this node)  {key_fingerprint(own.certificate.public_key())}")
    pinned = find_policy(None, identity)[0].secure_aggregation.pinned
    kept = read_peers(identity)
    for name, fingerprint in sorted(kept.items()):
        click.echo(f"{name}{'  (pinned)' if name in pinned else ''}  {fingerprint}")
    for name in sorted(set(pinned) - set(kept)):
        click.echo(f"{name}  (pinned)  no fingerprint is kept, so the node will not start")
    if not kept:
        click.echo("Nobody is kept: add an owner whose fingerprint you compared by telephone.")


for one in (add, compare, remove):
    peers.add_command(one)
