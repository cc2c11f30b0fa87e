"""`python -m worker_node receipts`: what updates that left would tell, as the node found it."""

from __future__ import annotations

from pathlib import Path

import click

from shared.cli import command, identity_option, say
from shared.quoting import escaped
from worker_node.cli.options import counts_of

RECEIPTS = "receipts.jsonl"


@command(
    "receipts",
    "python -m worker_node receipts",
    "python -m worker_node receipts --last 100 --json",
)
@identity_option
@click.option(
    "--receipts",
    "path",
    type=click.Path(path_type=Path),
    help=f"[default: {RECEIPTS} in the identity folder; without one, beside the node's counts]",
)
@counts_of("receipts are")
@click.option("--coordinator", metavar="NAME", help="Receipts of this coordinator alone.")
@click.option(
    "--last", type=click.IntRange(1, 10_000), default=20, show_default=True, help="The newest ones."
)
@click.option("--json", "as_json", is_flag=True, help="Lines as they stand in the file.")
def receipts(
    identity: Path,
    path: Path | None,
    counts: Path | None,
    coordinator: str | None,
    last: int,
    as_json: bool,
) -> None:
    """Show what each round's update tells of your words and messages.

    Before an update leaves, the node attacks it as whoever gets it could: which words are yours,
    and which messages, of others that are not.
    """
    from shared.files import is_present
    from worker_node.guarding.set_up import receipts_beside
    from worker_node.privacy.receipts import read_receipts

    path = path or (receipts_beside(counts) if counts is not None else identity / RECEIPTS)
    if not is_present(path):
        why = "no update has left a node that keeps them there"
        say(f"There are no receipts at {path}: {why}.", err=True)
        return
    found = [
        one for one in read_receipts(path) if coordinator is None or one.coordinator == coordinator
    ]
    for one in found[-last:]:
        told = f"{one.time[:19]}Z  {one.coordinator}  {one.run[:12]}  {one.in_words()}"
        click.echo(one.model_dump_json() if as_json else escaped(told))
