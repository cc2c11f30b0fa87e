"""The owner, as the guard asks them: at the node's terminal, on its page, or on both.

The first answer counts, and the question goes where it was not answered. On the page all questions
that wait are there together; each has its own number, so that no answer is taken for another's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from worker_node.guarding.owner_prompt import Terminal


@dataclass(frozen=True)
class Waiting:
    """A question on the page. until: when silence has become a no."""

    number: int
    question: str
    asked: datetime
    until: datetime
    answer: asyncio.Future[bool] = field(compare=False)


class Owner:
    """Whom the guard asks.

    Args:
        terminal: asked where it is there; its `answer_seconds` count on the page too.

    Attributes:
        has_page: whether the page is served.
        changed: called when a question comes or goes.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.has_page = False
        self.changed: Callable[[], object] = lambda: None
        self._terminal = terminal
        self._waiting: dict[int, Waiting] = {}
        self._numbers = 0

    @property
    def is_there(self) -> bool:
        return self.has_page or self._terminal.is_there

    @property
    def waiting(self) -> list[Waiting]:
        """Questions without an answer, the oldest first."""
        return list(self._waiting.values())

    def answer(self, number: int, yes: bool) -> bool:
        """An answer from the page; False where no such question waits (any more)."""
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            return False
        if not waiting.answer.done():
            waiting.answer.set_result(yes)
        self.changed()
        return True

    async def ask(self, question: str) -> bool:
        """True where the owner said yes in time. Safe to cancel; the question is then withdrawn."""
        if not self.has_page:
            return await self._terminal.ask(question)
        waiting = self._put(question)
        ways = [asyncio.create_task(self._on_page(waiting))]
        if self._terminal.is_there:
            ways.append(asyncio.create_task(self._terminal.ask(question)))
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            return all(way.result() for way in done)  # of two at once a no counts
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            if self._waiting.pop(waiting.number, None) is not None:
                self.changed()

    def _put(self, question: str) -> Waiting:
        self._numbers += 1
        now = datetime.now(UTC)
        until = now + timedelta(seconds=self._terminal.answer_seconds)
        answer = asyncio.get_running_loop().create_future()
        waiting = Waiting(self._numbers, question, now, until, answer)
        self._waiting[waiting.number] = waiting
        self.changed()
        return waiting

    async def _on_page(self, waiting: Waiting) -> bool:
        try:
            async with asyncio.timeout(self._terminal.answer_seconds):
                return await waiting.answer
        except TimeoutError:
            return False
