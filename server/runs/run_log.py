"""A run's log.txt: what happened in this run, also where several go on in one process."""

from __future__ import annotations

import logging
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

from shared.files import storage_error
from shared.quoting import OneLineFormatter

_RUN: ContextVar[object | None] = ContextVar("the run that this task works for", default=None)


def begin_run() -> None:
    """From here on this task, and those that it starts, work for a run of their own."""
    _RUN.set(object())


def open_log(path: Path) -> logging.Handler:
    """Has what is logged for the current run written to a file; of all runs, where none began.

    Raises:
        StorageError: the file cannot be written.
    """
    try:
        handler = _LogFile(path, encoding="utf-8")
    except OSError as error:
        raise storage_error("write", path, error) from error
    own = _RUN.get()
    if own is not None:
        handler.addFilter(lambda _: _RUN.get() is own)
    handler.setFormatter(OneLineFormatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.DEBUG)
    logging.getLogger("fedsms").addHandler(handler)
    logging.getLogger("fedsms").setLevel(logging.DEBUG)
    return handler


def close_log(handler: logging.Handler) -> None:
    """Ends what `open_log` began."""
    logging.getLogger("fedsms").removeHandler(handler)
    handler.close()


class _LogFile(logging.FileHandler):
    """A log that a full disk silences: the files that matter end the run with one clear error."""

    def close(self) -> None:
        """The same of a line that was not written yet."""
        with suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Instead of a stack trace a line."""
