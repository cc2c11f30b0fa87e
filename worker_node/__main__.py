"""The data owner's command line, `fedsms-node` once it is set up.

    python -m worker_node check --data messages.tsv
    python -m worker_node init --id bob
    python -m worker_node join bob.pem
    python -m worker_node serve --data messages.tsv --host 0.0.0.0
    python -m worker_node log --since 2h
    python -m worker_node peers

`check` says what the node would hold and tell; `init` and `join` make it a member of a federation,
with the coordinator's owner in between; `serve` holds the messages and trains on them. They never
leave this machine: a coordinator sends a model, has it trained here, and gets the trained model.
`log` shows what coordinators asked for, and what left the node. `peers` keeps other owners'
fingerprints for secure sums.
"""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

from shared.starting import start

COMMANDS = "worker_node.cli.commands"


def main() -> None:
    """`fedsms-node`."""
    _start("fedsms-node")


def _start(name: str) -> NoReturn:
    """Runs a command; a node that is told to stop ends with 0, also before and after it serves."""
    if sys.argv[1:2] != ["serve"]:
        start(COMMANDS, name)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        start(COMMANDS, name)
    finally:  # it ends already, with a code of its own
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


if __name__ == "__main__":
    _start("python -m worker_node")
