"""The process that a program's node is: reads its description, says where it serves, and serves.

    python -m worker_node.embedding.child THREADS

It ends when its standard input does, so also when the program that started it is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import TYPE_CHECKING

import click

from shared.errors import FedsmsError, Interrupted
from worker_node.training.forked import ForkedTrainer, fork_trainer

if TYPE_CHECKING:
    from worker_node.embedding.description import Description
    from worker_node.membership.admission import Admission
    from worker_node.serving.serve import ServeSettings


def _admission(described: Description) -> Admission | None:
    """Whom the node lets in; None where it serves without TLS."""
    from shared.identity import folder as identity
    from worker_node.membership.admission import make_admission

    folder = described.guarding().identity
    if folder is None:
        return None
    return make_admission(identity.load(folder, "node"), described.coordinators)


def _settings(described: Description, trainer: ForkedTrainer | None) -> ServeSettings:
    from worker_node.serving.serve import ServeSettings

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
        trainer=trainer,
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
    logging.getLogger("syft").setLevel(logging.WARNING)  # says at import what it does without
    trainer = fork_trainer(int(sys.argv[1]))  # before the owner's rows are here
    from worker_node.embedding.description import Description
    from worker_node.serving.serve import serve

    described = Description.from_json(sys.stdin.buffer.readline())
    try:
        asyncio.run(serve(_settings(described, trainer), described.shard()))
    except Interrupted:
        sys.exit(Interrupted.exit_code)
    except FedsmsError as error:
        parts = [error.fact, error.cause, error.next_step]
        click.echo(json.dumps({"error": type(error).__name__, "parts": parts}))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
