"""All commands of the coordinator."""

from __future__ import annotations

import click

from server.cli.audit import audit
from server.cli.authority import COMMANDS
from server.cli.compare import compare
from server.cli.inviting import COMMANDS as OF_INVITATIONS
from server.cli.nodes import evaluate, status
from server.cli.options import TWO_NODES
from server.cli.passports import COMMANDS as OF_PASSPORTS
from server.cli.predict import predict
from server.cli.show import runs, show
from server.cli.train import train
from server.cli.up import up
from shared.cli import HELP, GroupWithExamples
from shared.version import FEDSMS


@click.group(
    cls=GroupWithExamples,
    examples=(
        "python -m server init",
        "python -m server invite bob --at coordinator.example:8770",
        "python -m server admit bob.csr",
        f"python -m server status {TWO_NODES}",
        f"python -m server train {TWO_NODES}",
        'python -m server predict "You have won a prize, call now"',
    ),
    context_settings=HELP,
)
@click.version_option(FEDSMS, prog_name="fedsms")
def main() -> None:
    """The coordinator: trains a spam classifier on SMS messages that never leave their owners."""


for command in (
    *COMMANDS,
    *OF_INVITATIONS,
    train,
    up,
    compare,
    audit,
    runs,
    show,
    status,
    evaluate,
    predict,
    *OF_PASSPORTS,
):
    main.add_command(command)
