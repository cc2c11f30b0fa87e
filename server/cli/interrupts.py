"""Ctrl-C, SIGTERM and a terminal that goes away end a coroutine in good order: it is cancelled.

It may put things away before it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from shared.cli import ending_signals
from shared.errors import Interrupted

Result = TypeVar("Result")


def run_until_signal(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs a coroutine in an event loop of its own.

    Raises:
        Interrupted: SIGINT, SIGTERM or SIGHUP came; the one that its cancellation came from goes
            first, and so does whatever else it raises instead of being cancelled.
    """

    async def guarded() -> Result:
        task = asyncio.ensure_future(_explained(work))
        loop = asyncio.get_running_loop()
        for number in ending_signals():
            loop.add_signal_handler(number, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            raise Interrupted("stopped by the user") from None

    return asyncio.run(guarded())


async def _explained(work: Coroutine[Any, Any, Result]) -> Result:
    try:
        return await work
    except asyncio.CancelledError as stopped:
        if isinstance(stopped.__cause__, Interrupted):
            raise stopped.__cause__ from None
        raise
