"""A run of the coordinator that stays, as whoever asked for it follows it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from server.display.words import notice_line, round_line
from server.rounds.records import Round
from server.standing.asking import Tell
from shared.wire.commands import Progress

if TYPE_CHECKING:
    from shared.model.vectors import Vector


class Followed:
    """An Observer that passes a run on; who has gone is no reason to end it.

    Args:
        tell: takes a line; None for a run that nobody asked for.
    """

    def __init__(self, tell: Tell | None = None) -> None:
        self._tell = tell
        self._lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    @contextlib.asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Sends what comes while the context lasts, and all that is left at its end."""
        task = asyncio.create_task(self._send_all())
        try:
            yield
        finally:
            self._lines.put_nowait(None)
            await asyncio.wait([task])

    def send(self, line: dict[str, Any]) -> None:
        if self._tell is not None:
            self._lines.put_nowait(line)

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        """A line a round is enough."""

    def on_notice(self, number: int, node: str, text: str) -> None:
        self.send({"line": notice_line(number, node, text)})

    def on_round(self, record: Round, state: Vector) -> None:
        self.send({"line": round_line(record), "rows": record.rows()})

    async def _send_all(self) -> None:
        while (line := await self._lines.get()) is not None:
            if self._tell is None:
                continue
            try:
                await self._tell(line)
            except (OSError, TimeoutError):
                self._tell = None
