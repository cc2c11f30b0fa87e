"""All commands of the data owner."""

from __future__ import annotations

import click

# Nothing heavy at the top: `health` is asked every few seconds.
from shared.cli import HELP, GroupWithExamples
from shared.version import FEDSMS
from worker_node.cli.budget import budget
from worker_node.cli.check import check
from worker_node.cli.health import health
from worker_node.cli.log import show_log
from worker_node.cli.membership import COMMANDS
from worker_node.cli.peers import peers
from worker_node.cli.predict import predict
from worker_node.cli.receipts import receipts
from worker_node.cli.serve import serve


@click.group(
    cls=GroupWithExamples,
    examples=(
        "python -m worker_node check --data messages.tsv",
        "python -m worker_node init --id bob",
        "python -m worker_node join bob.pem",
        "python -m worker_node serve --data messages.tsv --host 0.0.0.0",
        "python -m worker_node log --since 2h",
        "python -m worker_node peers",
        "python -m worker_node budget",
        "python -m worker_node receipts",
        "python -m worker_node predict --own",
    ),
    context_settings=HELP,
)
@click.version_option(FEDSMS, prog_name="fedsms")
def main() -> None:
    """A data owner's node: trains models that coordinators send, on messages that stay here."""


for command in (*COMMANDS, serve, check, health, show_log, peers, budget, receipts, predict):
    main.add_command(command)
