"""The live page: a run as it happens. shared/page/serving.py says who may see it.

Its events: "run" (all of it), "round", "nodes", "notice", "end". Its button: "stop", which ends the
run as Ctrl-C does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from server.display.page.html import page_of
from server.rounds.records import Round
from shared.errors import FedsmsError
from shared.page.serving import Event, PageServer
from shared.wire.commands import Progress

if TYPE_CHECKING:
    from shared.model.vectors import Vector

NODES_SECONDS = 0.5
"""Between two events of how far nodes are."""
MAX_NOTICES = 200


class LivePage:
    """Serves one run while the context lasts; an Observer of it.

    Args:
        snapshot: all of the run, as page.js shows it; called beside the event loop.
        addition: what a round adds to that.
        stop: ends the run as Ctrl-C does.
        told: given the page's address.
    """

    def __init__(
        self,
        snapshot: Callable[[], Mapping[str, Any] | None],
        addition: Callable[[Round], Mapping[str, Any]],
        stop: Callable[[], object],
        told: Callable[[str], object],
    ) -> None:
        self._snapshot = snapshot
        self._addition = addition
        self._stop = stop
        self._server = PageServer(_page, self._all, {"stop": self._press_stop}, told)
        self._nodes: dict[str, list[Any]] = {}
        self._notices: deque[list[Any]] = deque(maxlen=MAX_NOTICES)
        self._flushing: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
        await self._server.__aexit__(*error)

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        done = [0, 0, None] if progress is None else [progress.done, progress.total, progress.loss]
        self._nodes[node] = [number, stage, *done]
        if self._flushing is None and self._server.is_open:
            loop = asyncio.get_running_loop()
            self._flushing = loop.call_later(NODES_SECONDS, self._flush)

    def on_notice(self, number: int, node: str, text: str) -> None:
        self._notices.append([number, node, text])
        self._server.send("notice", {"notice": [number, node, text]})

    def on_round(self, record: Round, state: Vector) -> None:
        if self._server.is_open:
            self._server.send("round", self._addition(record))

    def _flush(self) -> None:
        self._flushing = None
        self._server.send("nodes", {"nodes": self._nodes})

    async def _press_stop(self, which: str) -> bool:
        if which:
            return False
        self._stop()
        return True

    async def _all(self) -> Event:
        run = None
        with suppress(FedsmsError):  # of a folder that is not there yet
            run = await asyncio.to_thread(self._snapshot)
        return "run", {"run": run, "nodes": self._nodes, "notices": list(self._notices)}


def _page() -> bytes:
    return page_of({"runs": [], "live": True}, "fedsms: a run", live=True)
