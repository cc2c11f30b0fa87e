"""What a node or a coordinator may be called."""

from __future__ import annotations

import re

from shared.errors import UsageError

NODE_ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
NODE_ID_RULE = "an id has 1 to 64 letters, digits, dots, dashes and underscores"


def check_node_id(text: str) -> str:
    """The text, where it can be a node's id or a coordinator's name. Raises UsageError."""
    if not re.fullmatch(NODE_ID_PATTERN, text):
        raise UsageError(f"{text!r} cannot be a node id", NODE_ID_RULE)
    return text
