"""What runs need of torch and PySyft, loaded while no connection stands.

Loading takes a second or two of the processor, in which the event loop answers nobody. Where much
else is at work that is longer than a node's heartbeat, and the node counts the coordinator as lost.
"""

from __future__ import annotations

import asyncio
from importlib import import_module

from server.runs.setting import TrainingMode


def load_rounds() -> None:
    """Imports all that rounds, an evaluation or a comparison work with. Idempotent.

    Not in a thread: while PySyft is imported, stand-ins lie in sys.modules that are nobody else's.
    """
    for name in ("coordinator", "comparing", "handing_out"):
        import_module(f"server.rounds.{name}")


async def load_for(mode: TrainingMode) -> None:
    """The same for a run of this mode; what pointers need besides, beside the event loop."""
    load_rounds()
    if mode == "pointers":
        import_module("server.pointers.run")
        await asyncio.to_thread(_load_optimisers)


def _load_optimisers() -> None:
    """The first optimiser of a process imports torch's compiler."""
    import torch

    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
