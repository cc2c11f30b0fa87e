"""The process that a program's node is: reads its description, says where it serves, and serves.

    python -m worker_node.embedding.child

It ends when its standard input does, so also when the program that started it is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys

import click

from shared.errors import FedsmsError, Interrupted
from shared.identity import folder as identity
from worker_node.embedding.description import Description
from worker_node.membership.admission import Admission, make_admission
from worker_node.serving.serve import ServeSettings, serve


def _admission(described: Description) -> Admission | None:
    """Whom the node lets in; None where it serves without TLS."""
    folder = described.guarding().identity
    if folder is None:
        return None
    return make_admission(identity.load(folder, "node"), described.coordinators)


def _settings(described: Description) -> ServeSettings:
    return ServeSettings(
        described.node_id,
        described.host,
        described.port,
        not described.dials,
        tuple(described.dials),
        described.tell_labels,
        described.threads,
        described.heartbeat,
        described.keep_work,
        as_json=True,
        admission=_admission(described),
        guarding=described.guarding(),
        with_stdin=True,
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
    logging.getLogger("syft").setLevel(logging.WARNING)  # says at import what it does without
    described = Description.from_json(sys.stdin.buffer.readline())
    try:
        asyncio.run(serve(_settings(described), described.shard()))
    except Interrupted:
        sys.exit(Interrupted.exit_code)
    except FedsmsError as error:
        parts = [error.fact, error.cause, error.next_step]
        click.echo(json.dumps({"error": type(error).__name__, "parts": parts}))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
