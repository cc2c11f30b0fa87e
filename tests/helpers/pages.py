"""Pages of docs/ as scripts: their code blocks, in order, so that tests run what users read.

A block whose fence says ```bash NAME is run on the host NAME ("everywhere": on each of them). An
"&" after the name has it go on while the page does. A comment `<!-- carry FROM:FILE TO:FILE -->`
stands for what people do: sending somebody a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_STEP = re.compile(
    r"^```bash (?P<host>[a-z-]+)(?P<background> &)?\n(?P<script>.*?)^```$"
    r"|^<!-- carry (?P<source>\S+):(?P<file>\S+) (?P<target>\S+):(?P<copy>\S+) -->$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """Commands to run on a host."""

    host: str
    script: str
    is_background: bool = False


@dataclass(frozen=True)
class Carry:
    """A file that somebody sends to somebody else: host and path on both sides."""

    source: tuple[str, str]
    target: tuple[str, str]


def steps(page: Path) -> list[Block | Carry]:
    """What a reader of the page does, in order."""
    return steps_in(page.read_text(encoding="utf-8"))


def steps_in(text: str) -> list[Block | Carry]:
    """The same of a part of a page."""
    found: list[Block | Carry] = []
    for match in _STEP.finditer(text):
        part = match.groupdict()
        if part["host"]:
            found.append(Block(part["host"], part["script"], bool(part["background"])))
        else:
            source, target = (part["source"], part["file"]), (part["target"], part["copy"])
            found.append(Carry(source, target))
    return found
