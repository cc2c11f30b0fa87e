"""A display that cannot end a run: where its stream is full or closed, training goes on unseen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from server.rounds.records import Observer, Round
from shared.errors import describe_os_error
from shared.model.vectors import Vector
from shared.wire.commands import Progress

log = logging.getLogger("fedsms.coordinator")


class Display(Observer, Protocol):
    """What shows a run while it goes on."""

    def running(self) -> AbstractContextManager[Any]:
        """Shows it for as long as the context lasts."""


class MutedDisplay:
    """Hands on to a display until that cannot write any more, and then keeps still."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._muted = False

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        self._try(lambda: self._display.on_progress(number, node, stage, progress))

    def on_notice(self, number: int, node: str, text: str) -> None:
        self._try(lambda: self._display.on_notice(number, node, text))

    def on_round(self, record: Round, state: Vector) -> None:
        self._try(lambda: self._display.on_round(record, state))

    @contextmanager
    def running(self) -> Iterator[None]:
        with self._display.running():
            yield

    def _try(self, show: Callable[[], None]) -> None:
        if self._muted:
            return
        try:
            show()
        except OSError as error:
            self._muted = True
            log.warning("progress cannot be shown any more: %s", describe_os_error(error))
