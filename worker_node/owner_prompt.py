"""The owner's yes: a question at the terminal that the node was started from.

The node goes on serving while a question waits; questions are asked one after the other.
"""

from __future__ import annotations

import asyncio
import os
import sys

ANSWER_SECONDS = 300.0
"""How long the owner may think; then it is a no."""


class Terminal:
    """The terminal of this process, if it has one."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    @property
    def is_there(self) -> bool:
        return sys.stdin is not None and sys.stdin.isatty()

    async def ask(self, question: str) -> bool:
        """True where the owner said yes in time. Safe to cancel; the question is then withdrawn."""
        async with self._turn:
            print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await _line()
            except TimeoutError:
                print("\nno answer; that is a no", file=sys.stderr, flush=True)
                return False
            return answer.strip().lower() in ("y", "yes")


async def _line() -> str:
    """The next line of standard input. No thread waits for it: one could not be stopped."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[str] = loop.create_future()

    def read() -> None:
        if not came.done():
            came.set_result(os.read(sys.stdin.fileno(), 4096).decode("utf-8", "replace"))

    loop.add_reader(sys.stdin.fileno(), read)
    try:
        return await came
    finally:
        loop.remove_reader(sys.stdin.fileno())
