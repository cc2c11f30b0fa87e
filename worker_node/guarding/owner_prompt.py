"""The owner's yes: a question at the terminal that the node was started from.

The node goes on serving while a question waits; questions are asked one after the other. What was
typed before a question is no answer to it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import termios

ANSWER_SECONDS = 300.0
"""How long the owner may think; then it is a no."""


class Terminal:
    """The terminal of this process, if it has one.

    Args:
        seconds: that the owner may think.
    """

    def __init__(self, seconds: float = ANSWER_SECONDS) -> None:
        self._seconds = seconds
        self._turn = asyncio.Lock()

    @property
    def is_there(self) -> bool:
        """False in the background too, where the system would stop a process that reads."""
        if sys.stdin is None or not sys.stdin.isatty():
            return False
        try:
            return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
        except OSError:
            return True  # a terminal that is nobody's background

    async def ask(self, question: str) -> bool:
        """True where the owner said yes in time. Safe to cancel; the question is then withdrawn."""
        async with self._turn:
            if not self.is_there:
                return False
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
            _say(f"{question} [y/N] ")
            try:
                async with asyncio.timeout(self._seconds):
                    answer = await self._line()
            except TimeoutError:
                _say("\nno answer; that is a no\n")
                return False
            except asyncio.CancelledError:
                _say("\nno longer asked\n")
                raise
            return answer.strip().lower() in ("y", "yes")

    async def _line(self) -> str:
        """The next line of standard input; "" where there will be none. No thread waits for it:
        one could not be stopped."""
        loop, number = asyncio.get_running_loop(), sys.stdin.fileno()
        came: asyncio.Future[str] = loop.create_future()

        def read() -> None:
            loop.remove_reader(number)
            try:
                typed = os.read(number, 4096) if self.is_there else b""
            except OSError:  # the terminal is gone
                typed = b""
            if not came.done():
                came.set_result(typed.decode("utf-8", "replace"))

        loop.add_reader(number, read)
        try:
            return await came
        finally:
            loop.remove_reader(number)


def _say(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)
