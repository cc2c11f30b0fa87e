"""What the tests of shared/pysyft share: a bare node, and messages as values to tamper with."""

from __future__ import annotations

from typing import Any

import msgpack
import torch

from shared import pysyft

ROUND = [
    pysyft.ObjectMessage,
    pysyft.ObjectRequestMessage,
    pysyft.ForceObjectDeleteMessage,
    pysyft.WorkerCommandMessage,
    torch.Tensor,
    dict,
    list,
    tuple,
    str,
]


class Node(pysyft.WebsocketServerWorker):
    crypto_plans = False
    joins_registry = False


def simple(message: object, worker: Any) -> Any:
    """The plain values that PySyft makes of a message, as nested lists: for tests to change."""
    return msgpack.unpackb(pysyft.serialize(message, worker)[1:], strict_map_key=False)


def wire(simple_values: object) -> bytes:
    packed: bytes = msgpack.packb(simple_values)
    return b"\x28" + packed
