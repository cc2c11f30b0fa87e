"""The owner's page: served as shared/page/serving.py says, to browsers of this machine alone.

Its events: "all" (what there is, with the newest lines of the log), "now" (what has changed, with
the lines since), "end". Its buttons: "pause", "go-on", "check" (the log), "answer/NUMBER/yes" and
"answer/NUMBER/no".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import StorageError
from shared.page.html import page_of
from shared.page.serving import Event, PageServer
from worker_node.audit.lines import Entry
from worker_node.audit.log import AuditLog
from worker_node.audit.reading import newest
from worker_node.node import DataOwnerNode
from worker_node.page.facts import Described, facts_of
from worker_node.page.log_check import LogCheck
from worker_node.page.tally import MAX_LINES, Tally

CHANGE_SECONDS = 0.25
"""Between two events."""
BUSY_SECONDS = 0.5
"""Between two looks at how far the node's work is, which it tells nobody."""

log = logging.getLogger("fedsms.node")


class OwnerPage:
    """Serves one node's page while the context lasts.

    Args:
        key: the node's, that its log is signed with; None where it has none.
        told: given the page's address.
    """

    def __init__(
        self,
        node: DataOwnerNode,
        described: Described,
        key: ec.EllipticCurvePublicKey | None,
        told: Callable[[str], object],
    ) -> None:
        self._node = node
        self._described = described
        audit = node.guard.audit
        before = newest(audit.path, MAX_LINES) if isinstance(audit, AuditLog) else []
        self._tally = Tally(before)
        self._check = LogCheck(audit, key, self._changed)
        buttons = {
            "pause": self._press_pause,
            "go-on": self._press_go_on,
            "check": self._press_check,
            "answer": self._press_answer,
        }
        self._server = PageServer(self._page, self._all, buttons, told)
        self._told_lines = 0
        self._flushing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        guard = self._node.guard
        await self._server.__aenter__()
        guard.on_record = self._take
        guard.owner.changed = self._changed
        guard.owner.has_page = True
        self._check.begin()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._node.guard.owner.has_page = False
        tasks = [one for one in (self._watching, self._flushing) if one is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._check.close()
        await self._server.__aexit__(*error)

    def _take(self, entry: Entry) -> None:
        self._tally.take(entry)
        self._changed()

    def _changed(self) -> None:
        """Has all pages that are open told, in a moment."""
        if self._server.is_open and (self._flushing is None or self._flushing.done()):
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        await asyncio.sleep(CHANGE_SECONDS)
        facts = await self._facts()
        self._flushing = None  # what comes from here on is for the next one
        self._server.send("now", {**facts, **self._since()})

    def _since(self) -> dict[str, Any]:
        taken = self._tally.taken
        many = min(taken - self._told_lines, len(self._tally.lines))
        self._told_lines = taken
        return {"taken": taken, "lines": list(self._tally.lines)[-many:] if many else []}

    async def _watch(self) -> None:
        told = ""
        while True:
            await asyncio.sleep(BUSY_SECONDS)
            if self._node.busy_with != told:
                told = self._node.busy_with
                self._changed()

    async def _facts(self) -> dict[str, Any]:
        facts = await facts_of(self._node, self._described)
        facts |= {"asked": self._tally.asked(), "refused": self._tally.refused()}
        return {**facts, "log": self._check.told}

    async def _all(self) -> Event:
        facts = await self._facts()
        lines = {"taken": self._tally.taken, "lines": list(self._tally.lines)}
        return "all", {**facts, **lines}

    def _page(self) -> bytes:
        script = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
        return page_of({}, f"fedsms: node {self._node.id}", [script], live=True)

    async def _press_pause(self, which: str) -> bool:
        return not which and await self._written(self._node.pause)

    async def _press_go_on(self, which: str) -> bool:
        return not which and await self._written(self._node.go_on)

    async def _written(self, act: Callable[[], Any]) -> bool:
        try:
            await act()
        except StorageError as error:  # it is done all the same
            log.warning("the audit log does not say so: %s", error)
        self._changed()
        return True

    async def _press_check(self, which: str) -> bool:
        return not which and self._check.begin()

    async def _press_answer(self, which: str) -> bool:
        number, _, said = which.partition("/")
        if not number.isdecimal() or len(number) > 9 or said not in ("yes", "no"):
            return False
        return self._node.guard.owner.answer(int(number), said == "yes")
