"""The owner's log: what the node says on standard error, safe to read on a terminal.

Some of its words come from whoever connects, and a control character among them could forge other
lines, or have the terminal do something.
"""

from __future__ import annotations

import logging

from shared.quoting import OneLineFormatter


def begin_log() -> None:
    """Has all that is logged from now on written to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    logging.getLogger("syft").setLevel(logging.WARNING)  # says at import what it does without
