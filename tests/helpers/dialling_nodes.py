"""Nodes that dial out, in the test's own process, and a port that they may find."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from shared.identity.folder import load
from shared.wire.timeouts import Timeouts
from worker_node.data.shard import Message, Shard
from worker_node.membership.admission import make_admission
from worker_node.node import DataOwnerNode
from worker_node.serving.dialling import Line, dialling
from worker_node.serving.door import Door
from worker_node.training.trainer_process import TrainerProcess

PATIENT = Timeouts(handshake_timeout=60, heartbeat=0, dial_in_wait=60)


def free_port() -> int:
    """A port at which nobody listens yet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def knocking_node(
    url: str, identity: Path | None = None, node_id: str = "bob", timeouts: Timeouts = PATIENT
) -> AsyncIterator[Line]:
    """A node that dials the URL; its trainer is never started.

    Args:
        identity: None serves without TLS.
    """
    shard = Shard((Message(0, "a"), Message(1, "b")), (Message(0, "c"), Message(1, "d")))
    trainer = TrainerProcess(shard)
    node = DataOwnerNode(node_id, shard, trainer, timeouts=timeouts)
    admission = make_admission(load(identity, "node"), ()) if identity is not None else None
    try:
        async with dialling(Door(node, admission), [url]) as (line,):
            yield line
    finally:
        await trainer.close()
