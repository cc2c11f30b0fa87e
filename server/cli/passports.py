"""`python -m server forget`, `passport` and `verify`: what is known of a model, and who is out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import click

from server.cli.federations import federation_of
from server.cli.options import (
    federation_option,
    insecure_option,
    json_option,
    listen_option,
    node_option,
)
from server.runs.setting import SecureWanted
from shared.cli import command, identity_option, say

RUN = "runs/20261122-170501-default"
run_argument = click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))


@command(
    "forget",
    f"python -m server forget bob {RUN}",
    f"python -m server forget bob {RUN} --node anne=wss://10.0.0.9:8777",
)
@click.argument("owner")
@run_argument
@federation_option
@node_option
@listen_option
@identity_option
@insecure_option
@click.option(
    "--secure-aggregation",
    type=click.Choice(get_args(SecureWanted)),
    help="Whether the new run has secure sums.  [default: where the old run had]",
)
@json_option
def forget(
    owner: str,
    run_folder: Path,
    node: tuple[str, ...],
    listen: str | None,
    identity: Path,
    insecure: bool,
    secure_aggregation: SecureWanted | None,
    as_json: bool,
) -> None:
    """Train a run again from its seed without OWNER, compare, and leave a signed statement.

    The nodes are dialled where the run had them; --node says where one is now.
    """
    from server.cli.interrupts import run_until_signal

    federation = federation_of(node, listen, identity, insecure)
    shown = federation.forget(
        owner,
        run_folder,
        secure_aggregation=secure_aggregation,
        progress="json" if as_json else "bars",
    )
    forgotten = run_until_signal(shown)
    if as_json:
        said = forgotten.said.model_dump()
        click.echo(json.dumps({"run": str(forgotten.run.path), "forgotten": said}))
    else:
        click.echo(repr(forgotten))
        say(f"Anybody can check it with: python -m server verify {forgotten.run.path}")


@command("passport", f"python -m server passport {RUN}")
@run_argument
@federation_option
@node_option
@listen_option
@identity_option
@insecure_option
@json_option
def passport(
    run_folder: Path,
    node: tuple[str, ...],
    listen: str | None,
    identity: Path,
    insecure: bool,
    as_json: bool,
) -> None:
    """Write a run's passport.json and model_card.md, signed, and countersigned by its nodes."""
    from server.cli.interrupts import run_until_signal

    federation = federation_of(node, listen, identity, insecure)
    made = run_until_signal(federation.passport(run_folder))
    if as_json:
        click.echo(json.dumps(made.model_dump()))
        return
    for owner, part in sorted(made.passport.owners.items()):
        if part.countersigned is None and part.missing:
            click.echo(f"{owner} has not countersigned: {part.missing}", err=True)
    count = sum(part.countersigned is not None for part in made.passport.owners.values())
    if made.unsigned:
        click.echo(f"unsigned: {made.unsigned}")
    else:
        click.echo(f"signed, and countersigned by {count} of {len(made.passport.owners)} owners")
    click.echo(f"The passport and the model card are in {run_folder}")


@command(
    "verify",
    f"python -m server verify {RUN}",
    f"python -m server verify {RUN} --ca ca.pem",
)
@run_argument
@identity_option
@click.option(
    "--ca",
    type=click.Path(path_type=Path),
    help="Certificate of the CA that counts, in PEM.  [default: the one in --identity]",
)
@json_option
def verify(run_folder: Path, identity: Path, ca: Path | None, as_json: bool) -> None:
    """Check a run's passport and statement of forgetting, offline. Exits with 11 where not so."""
    from server.passport import verification

    verified = verification.verify(run_folder, identity, ca)
    click.echo(json.dumps({"verified": verified.lines}) if as_json else str(verified))


COMMANDS = (forget, passport, verify)
