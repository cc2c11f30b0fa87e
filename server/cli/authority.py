"""The commands of the coordinator's owner: who belongs to the federation, and who no longer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shared.cli import command, identity_option, say
from shared.errors import FedsmsError, IdentityError, UsageError

if TYPE_CHECKING:
    from server.authority.folder import Authority, Issued

authority_option = click.option(
    "--authority",
    type=click.Path(path_type=Path),
    default=Path("authority"),
    show_default=True,
    envvar="FEDSMS_AUTHORITY",
    show_envvar=True,
    help="Folder with the federation's CA; keep it where only you can read it.",
)
days_option = click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=365,
    show_default=True,
    help="How long the certificate is valid.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")


@command(
    "init",
    "python -m server init",
    "python -m server init --name second --identity identity-of-second",
)
@click.option("--name", help="The coordinator's name, as owners know it.  [default: coordinator]")
@authority_option
@identity_option
@days_option
def init(name: str | None, authority: Path, identity: Path, days: int) -> None:
    """Make the federation's CA, and a coordinator's key and certificate; what is there stays."""
    from server.authority.enrolment import check_own, make_own, own_certificate
    from server.authority.folder import make_authority
    from shared.identity.certificates import Name, describe, federation_of, fingerprint
    from shared.identity.names import check_node_id

    if name is not None:
        check_node_id(name)
    there = own_certificate(identity)
    if there is not None:
        ca = authority / "ca.pem" if (authority / "ca.pem").exists() else identity / "ca.pem"
        check_own(identity, there, name, ca)
        click.echo(f"{identity} holds {describe(there)}")
        say("Nothing to do. To renew it: python -m server renew")
        return
    made, is_new = make_authority(authority)
    issued = make_own(made, identity, Name("coordinator", name or "coordinator"), days)
    what = "made" if is_new else "there"
    click.echo(f"CA ({what}): {federation_of(made.ca)} in {authority}")
    click.echo(f"  fingerprint {fingerprint(made.ca)}")
    click.echo(f"{issued.name}: key and certificate in {identity}, {_until(issued)}")
    say("Next: python -m server admit FILE.csr, for each owner's request")


@command(
    "admit",
    "python -m server admit bob.csr",
    "python -m server admit bob.csr --fingerprint ab:cd:...",
    "python -m server admit bob.csr --yes --out bob.pem --days 90",
)
@click.argument("request_file", metavar="FILE.csr", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where the answer goes.  [default: ID.pem]"
)
@click.option("--yes", is_flag=True, help="Do not ask; the file came on a way that you trust.")
@click.option("--fingerprint", metavar="SHA256", help="Do not ask; the key must have this one.")
@click.option("--replace", is_flag=True, help="Revoke what was given to another key of this id.")
@authority_option
@identity_option
@days_option
def admit(
    request_file: Path,
    out: Path | None,
    yes: bool,
    fingerprint: str | None,
    replace: bool,
    authority: Path,
    identity: Path,
    days: int,
) -> None:
    """Sign an owner's request, and write the file that goes back to the owner."""
    from server.authority.enrolment import answer_path, bundle, read_request
    from server.authority.folder import open_authority
    from shared.files import write_whole
    from shared.identity.certificates import key_fingerprint

    name, key = read_request(request_file)
    ours = open_authority(authority)
    key_print = key_fingerprint(key)
    ours.check_free(name, key_print, replace)
    click.echo(f"{request_file}: {name} asks to join", err=True)
    click.echo(f"  fingerprint of its key: {key_print}", err=True)
    answer = out or answer_path(name)
    _confirm(str(name), key_print, yes, fingerprint)
    issued = ours.issue(name, key, days, replace)
    write_whole(answer, bundle(ours, issued))
    if replace:
        _spread(ours, identity)
    click.echo(f"{name} is admitted, {_until(issued)}.")
    click.echo(f"Send {answer} back to its owner (nothing in it is secret), who runs:")
    say(f"  python -m worker_node join {answer.name}")


def _confirm(name: str, key_print: str, yes: bool, expected: str | None) -> None:
    """Raises where the fingerprint is another one, or nobody says that it is right."""
    if expected is not None:
        if expected.lower().removeprefix("sha256:").replace(":", "") != key_print.replace(":", ""):
            raise IdentityError(
                f"{name} is not admitted",
                f"the fingerprint of its key is {key_print}",
                "This is not the request whose fingerprint you were told: ask its owner.",
            )
    elif not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                "nobody is here to say whether the fingerprint is right",
                "standard input is no terminal",
                "Give --fingerprint SHA256 as the owner told it, or --yes.",
            )
        question = "Does its owner, asked on another way, name the same fingerprint?"
        if not click.confirm(question, err=True):
            raise FedsmsError(f"{name} is not admitted", "its fingerprint was not confirmed")


@command("list", "python -m server list", "python -m server list --json")
@authority_option
@json_option
def list_issued(authority: Path, as_json: bool) -> None:
    """Say who has a certificate, until when, and who had one."""
    from server.authority.folder import open_authority

    issued = open_authority(authority).issued()
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in issued]))
        return
    from server.display.fitting import print_table
    from server.display.tables import issued_table

    print_table(issued_table(issued))


@command("revoke", "python -m server revoke bob")
@click.argument("name")
@authority_option
@identity_option
def revoke(name: str, authority: Path, identity: Path) -> None:
    """Take back every certificate of a node, or coordinator, from its next connection on."""
    from server.authority.folder import open_authority

    ours = open_authority(authority)
    revoked = ours.revoke(name)
    click.echo(f"{revoked[0].name} is revoked.")
    _spread(ours, identity)
    if revoked[0].role == "coordinator":
        click.echo("Each node's owner has to know: take its name out of coordinators.txt there.")


def _spread(ours: Authority, identity: Path) -> None:
    from server.authority.enrolment import spread_crl

    if spread_crl(ours, identity):
        click.echo(f"The coordinator in {identity} refuses it from its next connection on.")
        others = "Copy {0} into the identity folders of further coordinators, if there are any."
    else:
        others = "Copy {0} into each coordinator's identity folder; until then it is not refused."
    click.echo(others.format(ours.folder / "crl.pem"))


@command("renew", "python -m server renew", "python -m server renew --days 90")
@authority_option
@identity_option
@days_option
def renew(authority: Path, identity: Path, days: int) -> None:
    """Make a new certificate for this coordinator's key."""
    from server.authority.enrolment import check_own, make_own, own_certificate
    from server.authority.folder import open_authority

    ours = open_authority(authority)
    there = own_certificate(identity)
    if there is None:
        raise IdentityError(
            f"there is no coordinator's identity in {identity}",
            next_step="Make it with: python -m server init",
        )
    name = check_own(identity, there, None, authority / "ca.pem")
    issued = make_own(ours, identity, name, days)
    click.echo(f"{issued.name}: a new certificate in {identity}, {_until(issued)}")


def _until(issued: Issued) -> str:
    return f"valid until {issued.valid_until:%Y-%m-%d}"


COMMANDS = (init, admit, list_issued, revoke, renew)
