"""Makes the identities of a federation whose containers are all on one machine.

What `docker compose up` runs in its `certificates` service: the CA, the coordinator's identity and
every owner's, each in a volume of its own, by the steps that `python -m server init`, `worker_node
init`, `server admit` and `worker_node join` take. What is there is kept; what ends within 30 days
is renewed, with the same key; who was revoked stays revoked.

Each folder is given to the user who works with it: an owner's to the nodes' user, the
coordinator's to the owner of the folder of runs.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, not as a module

from cryptography import x509

from scripts.compose.owner_folders import NODE_UID, hand_over, owner_option, owners_of
from scripts.compose.same_code import say_where_code_differs
from server.authority.enrolment import (
    bundle,
    check_own,
    make_own,
    own_certificate,
    read_request,
    spread_crl,
)
from server.authority.folder import Authority, Issued, make_authority
from shared.cli import HELP, ExamplesFirst, run
from shared.files import write_whole
from shared.identity.certificates import Name, day, fingerprint, is_issued_by
from shared.identity.folder import WARNING_TIME
from shared.identity.names import check_node_id
from worker_node.membership.enrolment import join, make_request

COORDINATOR = "coordinator"


def ensure_coordinator(authority: Authority, folder: Path, days: int) -> None:
    """The coordinator's identity: made, renewed, or left as it is.

    Raises:
        IdentityError: the folder holds another's. StorageError: it cannot be written.
    """
    there = own_certificate(folder)
    if there is None or _ends_soon(there):
        issued = make_own(authority, folder, Name("coordinator", COORDINATOR), days)
        _say(issued.name, "new" if there is None else "renewed", folder)
    else:
        _say(check_own(folder, there, COORDINATOR, authority.folder / "ca.pem"), "kept", folder)
    spread_crl(authority, folder)


def ensure_node(authority: Authority, owner: str, folder: Path, days: int) -> None:
    """An owner's identity: made, renewed, or left as it is; a revoked one is left as it is.

    Raises:
        IdentityError: the folder holds another's. StorageError: it cannot be written.
    """
    name = Name("node", check_node_id(owner))
    if _is_revoked(authority.issued(), name):
        click.echo(f"{name} is revoked, and stays so.")
        return
    there = own_certificate(folder)
    if there is not None and is_issued_by(there, authority.ca) and not _ends_soon(there):
        _say(name, "kept", folder)
        return
    request, _ = make_request(folder, owner)
    _, key = read_request(request)
    # replace: where a volume was removed, its key is lost
    issued = authority.issue(name, key, days, replace=True)
    with tempfile.TemporaryDirectory() as scratch:
        answer = Path(scratch) / f"{owner}.pem"
        write_whole(answer, bundle(authority, issued))
        join(answer, folder)
    _say(name, "new" if there is None else "renewed", folder)


def _is_revoked(issued: list[Issued], name: Name) -> bool:
    """True where the last certificate of the name was taken back."""
    states = [one.state for one in issued if one.name == name]
    return bool(states) and states[-1] == "revoked"


def _ends_soon(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc - datetime.now(UTC) < WARNING_TIME


def _say(name: Name, what: str, folder: Path) -> None:
    certificate = own_certificate(folder)
    assert certificate is not None
    until = day(certificate.not_valid_after_utc)
    click.echo(f"{name}: {what}, until {until}, {fingerprint(certificate)[:23]}...")


def _give_away(coordinator: Path, owners: dict[str, Path], runs: Path) -> None:
    if os.geteuid() != 0:
        return
    for folder in (coordinator, *owners.values()):
        if folder.stat().st_uid == 0:
            folder.chmod(0o700)
    status = runs.stat()
    hand_over([coordinator], status.st_uid, status.st_gid)
    hand_over(owners.values(), NODE_UID, NODE_UID)


@click.command(
    cls=ExamplesFirst,
    examples=("python scripts/compose/certificates.py --owner bob=/identities/bob ...",),
    help=__doc__,
    context_settings=HELP,
)
@owner_option("An owner's identity folder.")
@click.option(
    "--identity",
    type=click.Path(path_type=Path),
    required=True,
    envvar="FEDSMS_IDENTITY",
    show_envvar=True,
    help="The coordinator's identity folder.",
)
@click.option(
    "--authority",
    type=click.Path(path_type=Path),
    required=True,
    envvar="FEDSMS_AUTHORITY",
    show_envvar=True,
    help="The CA's folder, which no other container sees.",
)
@click.option(
    "--runs",
    type=click.Path(path_type=Path, exists=True),
    default=Path("/runs"),
    show_default=True,
    help="Whose owner the coordinator runs as.",
)
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True)
def main(owner: tuple[str, ...], identity: Path, authority: Path, runs: Path, days: int) -> None:
    say_where_code_differs()
    owners = owners_of(owner)
    made, is_new = make_authority(authority)
    click.echo(f"CA: {'new' if is_new else 'kept'}, {fingerprint(made.ca)[:23]}...")
    try:
        ensure_coordinator(made, identity, days)
        for name, folder in owners.items():
            ensure_node(made, name, folder, days)
    finally:
        _give_away(identity, owners, runs)


if __name__ == "__main__":
    run(main, "python scripts/compose/certificates.py")
