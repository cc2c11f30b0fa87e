"""A node in the test's own process, whose bounds the test can reach."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shared.wire.timeouts import Timeouts
from worker_node.data.shard import Message, Shard
from worker_node.guarding.guard import Guard
from worker_node.guarding.pace import Pace
from worker_node.guarding.policy import Policy
from worker_node.membership.admission import Admission
from worker_node.node import DataOwnerNode
from worker_node.serving.listener import listening
from worker_node.training.trainer_process import TrainerProcess

UNHURRIED = Timeouts(handshake_timeout=60, heartbeat=0)
"""Nothing of a test's connection is counted or ended but what it does itself."""


@asynccontextmanager
async def served_node(
    policy: dict[str, Any] | None = None,
    admission: Admission | None = None,
    timeouts: Timeouts = UNHURRIED,
    pace: Pace | None = None,
) -> AsyncIterator[str]:
    """Gives its URL."""
    shard = Shard((Message(0, "a"), Message(1, "b")), (Message(0, "c"), Message(1, "d")))
    trainer = TrainerProcess(shard)
    guard = Guard(Policy.model_validate(policy or {}), pace=pace)
    node = DataOwnerNode("bob", shard, trainer, guard=guard, timeouts=timeouts)
    try:
        async with listening(node, "127.0.0.1", 0, admission) as url:
            yield url
    finally:
        await trainer.close()
