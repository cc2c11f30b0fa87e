"""Whether the audit log is all there and unchanged, as the page says it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import FedsmsError, one_line
from worker_node.audit.lines import Place
from worker_node.audit.log import Audit, AuditLog
from worker_node.audit.reading import verify

Told = dict[str, Any]


class LogCheck:
    """Reads the log anew when it is asked to, beside the node's work.

    Args:
        audit: what the node writes. key: the node's, that its anchor is signed with; None where it
            has none.
        changed: called when `told` is another.

    Attributes:
        told: `state` is "off", "not checked", "checking", "whole" or "faulty"; `words` say more.
    """

    def __init__(
        self,
        audit: Audit,
        key: ec.EllipticCurvePublicKey | None,
        changed: Callable[[], object],
    ) -> None:
        self._log = audit if isinstance(audit, AuditLog) else None
        self._key = key
        self._changed = changed
        self._task: asyncio.Task[None] | None = None
        self.told: Told = {"state": "off", "words": "There is no log, as you asked.", "time": ""}
        if self._log is not None:
            self.told = {"state": "not checked", "words": f"{self._log.path}", "time": ""}

    def begin(self) -> bool:
        """Begins to check; False where there is nothing to check, or it is checked just now."""
        if self._log is None or self.told["state"] == "checking":
            return False
        self.told = {**self.told, "state": "checking"}
        self._task = asyncio.create_task(self._check(self._log))
        self._changed()
        return True

    async def close(self) -> None:
        """Forgets a check that goes on. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _check(self, audit: AuditLog) -> None:
        fault, words = await asyncio.to_thread(self._look, audit)
        state = "faulty" if fault else "whole"
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        self.told = {"state": state, "words": fault or words, "time": now}
        self._changed()

    def _look(self, audit: AuditLog) -> tuple[str, str]:
        """What is wrong, "" for nothing; and how far it is whole."""
        fault, words = self._once(audit)
        # what is read in the moment in which it is written may look damaged; once
        return self._once(audit) if fault else (fault, words)

    def _once(self, audit: AuditLog) -> tuple[str, str]:
        seen: list[Place] = []

        def written() -> int:
            seen.append(audit.place)
            return seen[-1].n

        try:
            found = verify(audit.path, self._key, written)
        except FedsmsError as error:
            return one_line(error), ""
        if found.fault:
            return found.fault, ""
        if seen[-1] != Place(found.last, found.hash):
            return f"it ends otherwise than this node left it, which wrote {seen[-1].n} lines", ""
        signed = "signed by this node" if found.signed else "not signed"
        words = f"Lines {found.first} to {found.last} are all there, unchanged; the anchor is "
        return "", f"{words}{signed}."
