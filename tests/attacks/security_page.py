"""docs/security.md as tests read it: its sentences, the rows of its tables, and whether a phrase
stands in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.helpers.running import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
_BULLET = re.compile(r"^\s*[-*] ", re.MULTILINE)
_END = re.compile(r"(?<=[.?])[*)]*\s+(?=[*`(\[\"]*[A-Z0-9`\[])")


def plain(text: str) -> str:
    """Without line breaks and marks of emphasis, which a phrase need not have."""
    return " ".join(text.replace("*", "").split())


@dataclass(frozen=True)
class Unit:
    """A sentence, or a row of a table, under its heading."""

    heading: str
    text: str


def units() -> list[Unit]:
    """All that the page says; examples of configuration and headers of tables are left out."""
    return [Unit(heading, text) for heading, body in _sections() for text in _texts(body)]


def table_rows(heading: str, first: str) -> list[list[str]]:
    """The rows of the table under a heading whose header begins with `first`."""
    body = dict(_sections())[heading]
    for block in body.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        if rows and rows[0][0] == first:
            return rows[2:]
    raise AssertionError(f"no table of {first!r} under {heading!r}")


def _sections() -> Iterator[tuple[str, str]]:
    for part in re.split(r"^#+ ", PAGE, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        yield heading, re.sub(r"```.*?```", "", body, flags=re.DOTALL).strip()


def _texts(body: str) -> Iterator[str]:
    for block in body.split("\n\n"):
        if block.startswith("|"):
            yield from (plain(line.strip("|")) for line in block.splitlines()[2:])
            continue
        for item in _BULLET.split(block):
            yield from filter(None, map(plain, _END.split(item.strip())))
