"""The owner's log: what the node says on standard error, safe to read on a terminal.

Some of its words come from whoever connects, and a control character among them could forge other
lines, or have the terminal do something.
"""

from __future__ import annotations

import logging


def printable(text: str, also: str = "") -> str:
    """The text with a question mark for what cannot be printed, and is not one of `also`."""
    return "".join(c if c.isprintable() or c in also else "?" for c in text)


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), also="\n\t")


def begin_log() -> None:
    """Has all that is logged from now on written to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    logging.getLogger("syft").setLevel(logging.WARNING)  # says at import what it does without
