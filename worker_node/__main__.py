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

from shared.starting import start

COMMANDS = "worker_node.cli.commands"


def main() -> None:
    """`fedsms-node`."""
    start(COMMANDS, "fedsms-node")


if __name__ == "__main__":
    start(COMMANDS, "python -m worker_node")
