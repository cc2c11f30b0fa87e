"""Words that somebody else chose, made fit for a terminal, a log and a page: escaped, and quoted.

A control character could forge lines or drive a terminal, and a mark of direction could turn a line
around. Whatever comes from a peer, or out of a message, is shown through one of these functions.
"""

from __future__ import annotations

import copy
import json
import logging
import unicodedata

MAX_QUOTED = 500
"""Characters of a peer's words that are shown."""
_JOINERS = "\u200c\u200d"  # of emoji and of several scripts; they move nothing


def escaped(text: str, at_most: int = 0) -> str:
    """One line in which every character can be seen; what cannot stands as in Python, as "\\n".

    Args:
        at_most: characters of the text that are shown, with "..." for the rest; 0 shows all.
    """
    if text.isprintable() and not (at_most and len(text) > at_most):
        return text  # as nearly all do
    rest = "..." if at_most and len(text) > at_most else ""
    return "".join(map(_shown, text[:at_most] if at_most else text)) + rest


def quoted(text: str, at_most: int = MAX_QUOTED) -> str:
    """A peer's words between quotation marks, which they cannot end."""
    return f'"{escaped(text, at_most).replace(chr(34), chr(39))}"'


def readable_json(values: object) -> str:
    """JSON on one line, in every script's own letters, and with escapes for what cannot be seen."""
    written = json.dumps(values, ensure_ascii=False)
    if written.isprintable():
        return written
    return "".join(map(_in_json, written))


def _in_json(character: str) -> str:
    return character if _is_seen(character) else json.dumps(character)[1:-1]


def _is_seen(character: str) -> bool:
    return character.isprintable() or character in _JOINERS


def _shown(character: str) -> str:
    if _is_seen(character):
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    return character.encode("unicode_escape").decode("ascii")


class OneLineFormatter(logging.Formatter):
    """A log of one line a record; the lines of a stack trace cannot be taken for records."""

    def format(self, record: logging.LogRecord) -> str:
        plain = copy.copy(record)
        plain.exc_info = plain.exc_text = plain.stack_info = None
        lines = [escaped(super().format(plain))]
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            lines += [f"    {escaped(line)}" for line in trace.splitlines()]
        return "\n".join(lines)
