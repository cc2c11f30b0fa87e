"""The coordinator's command line.

Once, with each data owner (their side is `python -m worker_node init` and `join`):

    python -m server init
    python -m server admit bob.csr

Then, while the owners' nodes serve:

    python -m server status --node bob=wss://10.0.0.7:8777 --node anne=wss://10.0.0.8:8777
    python -m server train  --node bob=wss://10.0.0.7:8777 --node anne=wss://10.0.0.8:8777
    python -m server predict "You have won a prize, call now"
"""

from __future__ import annotations

import click

from server.cli.authority import COMMANDS
from server.cli.nodes import evaluate, status
from server.cli.options import TWO_NODES
from server.cli.passports import COMMANDS as OF_PASSPORTS
from server.cli.predict import predict
from server.cli.train import train
from shared.cli import HELP, GroupWithExamples, run
from shared.version import FEDSMS


@click.group(
    cls=GroupWithExamples,
    examples=(
        "python -m server init",
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


for command in (*COMMANDS, train, status, evaluate, predict, *OF_PASSPORTS):
    main.add_command(command)


if __name__ == "__main__":
    run(main, "python -m server")
