"""What a program tells the process that is its node, over a pipe: no message touches a disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worker_node.data.shard import Message, Shard
from worker_node.guarding.policy import Policy
from worker_node.guarding.set_up import Guarding


@dataclass(frozen=True)
class Description:
    """A node. All paths are absolute: the child works in a folder of its own.

    policy: its rules as JSON. coordinators: names to let in over TLS; none takes those of
    coordinators.txt. The others are fields of Guarding, Shard and ServeSettings.
    """

    node_id: str
    train: Sequence[tuple[int, str]]
    held_out: Sequence[tuple[int, str]]
    host: str
    port: int
    dials: Sequence[str]
    policy: str
    policy_file: str | None
    audit_log: str | None
    counts: str | None
    identity: str | None
    models: str | None
    coordinators: Sequence[str]
    tell_labels: bool
    threads: int
    heartbeat: float
    keep_work: float

    def to_json(self) -> bytes:
        """One line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_json(cls, line: bytes) -> Description:
        return cls(**json.loads(line))

    def shard(self) -> Shard:
        return Shard(_messages(self.train), _messages(self.held_out))

    def guarding(self) -> Guarding:
        return Guarding(
            Policy.model_validate_json(self.policy),
            _path(self.policy_file),
            _path(self.audit_log),
            _path(self.counts),
            _path(self.identity),
            _path(self.models),
        )


def _messages(rows: Sequence[Any]) -> tuple[Message, ...]:
    return tuple(Message(label, text) for label, text in rows)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
