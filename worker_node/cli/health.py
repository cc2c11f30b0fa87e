"""`python -m worker_node health`: asks a node on this machine how it is.

Loads next to nothing, for a container's engine asks every few seconds.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

import click

from shared.cli import command
from shared.errors import NodeFailed, NodeUnreachable, UsageError
from worker_node.cli.options import health_option

ANSWER_SECONDS = 8.0
"""How long a node that is well may take; a hanging one never answers."""


@command(
    "health",
    "python -m worker_node health --health-socket /run/bob.sock",
)
@health_option
def health(health_socket: Path | None) -> None:
    """Ask the node on this machine how it is; exits with 0 where it is well."""
    if health_socket is None:
        raise UsageError(
            "no health socket is given",
            next_step="Name the one that the node serves with: --health-socket PATH.",
        )
    click.echo(ask_health(health_socket))


def ask_health(path: Path) -> str:
    """The node's line of JSON.

    Raises:
        NodeUnreachable: no node answers at the socket. NodeFailed: it answers that it is not well.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(path))
            with connection.makefile(encoding="utf-8") as lines:
                line = lines.readline().strip()
    except OSError as error:
        raise NodeUnreachable(
            f"no node tells its health at {path}",
            error.strerror or str(error),
            "Does one serve here with that --health-socket? It answers once it is ready.",
        ) from error
    if not line:
        raise NodeUnreachable(f"the node at {path} hung up without an answer")
    if not json.loads(line)["well"]:
        raise NodeFailed(
            "the node's training process died",
            line,
            "The next training starts another; the node's log says more.",
        )
    return line
