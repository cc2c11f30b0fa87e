"""`python -m worker_node log`: shows, filters and verifies the audit log."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from shared.cli import command, identity_option
from shared.errors import StorageError
from shared.quoting import escaped
from worker_node.audit import AUDIT_LOG


@command(
    "log",
    "python -m worker_node log --since 2h --decision refused",
    "python -m worker_node log --follow",
    "python -m worker_node log --verify",
)
@identity_option
@click.option(
    "--audit-log",
    type=click.Path(path_type=Path),
    envvar="FEDSMS_AUDIT_LOG",
    show_envvar=True,
    help=f"The log's newest file.  [default: {AUDIT_LOG} in the identity folder; a node without "
    f"one writes <id>.{AUDIT_LOG} where it is started]",
)
@click.option("--coordinator", metavar="NAME", help="Lines of this coordinator alone.")
@click.option("--since", metavar="WHEN", help="2h, 7d, or a date or time.")
@click.option(
    "--decision",
    type=click.Choice(["began", "allowed", "refused", "failed"]),
    help="Lines of this decision alone.",
)
@click.option("--follow", is_flag=True, help="Show new lines as they come, until Ctrl-C.")
@click.option("--verify", is_flag=True, help="Say whether a line was removed or changed.")
@click.option("--json", "as_json", is_flag=True, help="Lines as they stand in the log.")
def show_log(
    identity: Path,
    audit_log: Path | None,
    coordinator: str | None,
    since: str | None,
    decision: str | None,
    follow: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Show what coordinators asked of this node, and what left it."""
    from worker_node.audit import reading

    path = audit_log or identity / AUDIT_LOG
    if verify:
        _verify(path, identity, as_json)
        return
    wanted = reading.Filter(coordinator, decision, reading.moment(since) if since else None)
    lines = reading.follow(path, wanted) if follow else reading.entries(path, wanted)
    _show(lines, as_json)


def _show(lines: Iterable[dict[str, Any]], as_json: bool) -> None:
    for line in lines:
        click.echo(json.dumps(line) if as_json else escaped(_in_words(line)))


def _in_words(line: dict[str, Any]) -> str:
    proved = "" if line.get("certificate") or not line.get("who") else " (not proved)"
    about = f" {line['object']}" if line.get("object") else ""
    detail = f"  {line['detail']}" if line.get("detail") else ""
    return (
        f"{line['n']:>7}  {str(line.get('time'))[:19]}Z  {line.get('decision'):<7}  "
        f"{line.get('bytes_out'):>10,} B  {line.get('who')}{proved} {line.get('address')}  "
        f"{line.get('what')}{about}{detail}"
    )


def _verify(path: Path, identity: Path, as_json: bool) -> None:
    from shared.identity.folder import KEY, read_key
    from worker_node.audit.reading import verify

    key = read_key(identity).public_key() if (identity / KEY).exists() else None
    found = verify(path, key)
    if as_json:
        click.echo(json.dumps({"audit_log": str(path), **vars(found)}))
    if found.fault:
        raise StorageError(
            f"the audit log {path} is not as the node wrote it",
            found.fault,
            "Compare it with a copy, if there is one.",
        )
    if as_json:
        return
    click.echo(f"Lines {found.first} to {found.last} are all there, unchanged.")
    click.echo(f"  hash of the last: {found.hash}")
    if found.first > 1:
        click.echo(f"  earlier ones, before line {found.first}, are not in this folder")
    signed = "signed by this node" if found.signed else "not signed"
    click.echo(f"  the anchor, {signed}, vouches for the first {found.anchored}")
    if found.anchored is not None and found.last > found.anchored:
        click.echo(
            "  nothing vouches for later ones: whoever writes the file could have added them"
        )
