"""Pointer commands on their way to a node: gathered, numbered, and handed over frame by frame.

Nothing is waited for but what has an answer. Each command remembers where the user's program issued
it, until an answer tells that it was done: an error that comes late still names the line.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections import deque
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any

from shared.pointers.frames import (
    DELETE,
    MAX_TEMPLATES,
    Item,
    Template,
    pack_commands,
    pack_numbers,
)

COMMANDS_A_FRAME = 96
"""Enough to make a frame worth its cost, few enough that the node starts early."""
BYTES_A_FRAME = 8 * 2**20
"""Objects gathered beyond this many bytes go at once."""

Site = tuple[str, CodeType, int]
"""Operation, the code that issued it, and the line."""

_HERE = Path(__file__).resolve().parent
_SHARED = _HERE.parents[1] / "shared"


def _folders() -> tuple[str, ...]:
    """Where code lies that issues commands on behalf of somebody else's line."""
    packages = [find_spec(name) for name in ("torch", "syft")]
    origins = [spec.origin for spec in packages if spec is not None and spec.origin]
    files = [_HERE / name for name in ("client.py", "exchange.py", "command_stream.py")]
    return (
        *(f"{Path(origin).parent}{os.sep}" for origin in origins),
        f"{_SHARED}{os.sep}",
        *map(str, files),
    )


_INTERNAL = _folders()
_internal_code: dict[CodeType, bool] = {}


def issued_at(depth: int) -> tuple[CodeType, int]:
    """The innermost line, `depth` frames up or more, that is neither torch's, syft's nor ours."""
    frame = sys._getframe(depth)
    while True:
        code, outer = frame.f_code, frame.f_back
        internal = _internal_code.get(code)
        if internal is None:
            internal = _internal_code[code] = code.co_filename.startswith(_INTERNAL)
        if not internal or outer is None:
            return code, frame.f_lineno
        frame = outer


class CommandStream:
    """Commands that were issued and not yet handed over, in their order.

    For one thread at a time; `delete` alone may be called from any, since the garbage collector
    calls it from wherever it likes.

    Args:
        send: hands a payload over without waiting for an answer.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._templates: dict[Template, int] = {}
        self._new: list[Template] = []
        self._numbers = array("q")
        self._in_frame = 0
        self._bytes = 0
        self._items: list[tuple[int, Any]] = []
        self._deleted: deque[int] = deque()
        self._first = 0  # number of the command that self._sites begins with
        self._sites: list[Site] = []
        self.recorder: Callable[[Template, list[int]], None] | None = None
        self.messages = 0
        self.items = 0

    def command(self, template: Template, ids: list[int]) -> None:
        """Adds a command; `ids` are those of its tensors, then that of its result if it has one."""
        number = self._templates.get(template) or self._define(template)
        if self._deleted:
            self._write_deletions()
        self._numbers.append(number)
        self._numbers.extend(ids)
        self._sites.append((template[0], *issued_at(3)))
        if self.recorder is not None:
            self.recorder(template, ids)
        self._in_frame += 1
        if self._in_frame >= COMMANDS_A_FRAME:
            self.flush()

    def number_of(self, template: Template) -> int:
        """The number by which the node knows a template once what was added so far is there."""
        return self._templates.get(template) or self._define(template)

    def _define(self, template: Template) -> int:
        if len(self._templates) == MAX_TEMPLATES:
            self._close_numbers()
            self._items.append((Item.FORGET_TEMPLATES, None))
            self._templates.clear()
        number = self._templates[template] = 1 + len(self._templates)
        self._new.append(template)
        return number

    def delete(self, object_id: int) -> None:
        """Has an object deleted with the next frame. From any thread, and inside any other call."""
        self._deleted.append(object_id)

    def item(self, kind: Item, content: Any, size: int = 0) -> None:
        """Adds anything else, after all that was added before. `size`: its bytes, where many."""
        self._close_numbers()
        self._items.append((kind, content))
        self.messages += 1
        self.items += 1
        self._bytes += size
        if self._bytes > BYTES_A_FRAME:
            self.flush()

    def _write_deletions(self) -> None:
        deleted = self._deleted
        for _ in range(len(deleted)):
            self._numbers.append(DELETE)
            self._numbers.append(deleted.popleft())
            self.messages += 1

    def _close_numbers(self) -> None:
        self._write_deletions()
        self.messages += self._in_frame
        if self._new:
            self._items.append((Item.TEMPLATES, self._new))
            self._new = []
        if self._numbers:
            self._items.append((Item.COMMANDS, pack_numbers(self._numbers)))
            self._numbers = array("q")
        self._in_frame = 0

    def flush(self) -> None:
        """Hands over what was gathered, without waiting for an answer."""
        payload = self._take(answer=False)
        if payload is not None:
            self._send(payload)

    def last(self) -> bytes:
        """The payload with all that was gathered, whose answer is wanted."""
        payload = self._take(answer=True)
        assert payload is not None
        return payload

    def _take(self, answer: bool) -> bytes | None:
        self._close_numbers()
        if not self._items and not answer:
            return None
        items, self._items, self._bytes = self._items, [], 0
        return pack_commands(answer, items)

    @property
    def unanswered(self) -> int:
        """Commands that no answer has told to be done."""
        return len(self._sites)

    def answered(self) -> None:
        """All commands so far are done: where they were issued need not be remembered."""
        self._first += len(self._sites)
        self._sites.clear()

    def site(self, number: int) -> Site | None:
        """Where the command of that number was issued, counted from 0 over the whole session."""
        index = number - self._first
        return self._sites[index] if 0 <= index < len(self._sites) else None
