"""docs/security.md as tests read it: its sentences, and the rows of its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.helpers.running import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
_ITEM = re.compile(r"^- ", re.MULTILINE)
_END = re.compile(r"(?<=[.?])[*)]*\s+(?=[*`(\[\"]*[A-Z0-9`\[])")


@dataclass(frozen=True)
class Unit:
    """A sentence, or a row of a table.

    before: what stands before it in its paragraph; of a list also the paragraph that begins it.
    """

    heading: str
    text: str
    before: str

    @property
    def is_not_prevented(self) -> bool:
        """The page says so, before it or in it."""
        return "not prevented" in f"{self.before} {self.text}".lower()


def plain(text: str) -> str:
    """Without line breaks and marks of emphasis, which a phrase need not have."""
    return " ".join(text.replace("*", "").split())


def units() -> list[Unit]:
    """All that the page says, but for blocks of code and the headers of tables."""
    return [unit for heading, body in _sections() for unit in _units(heading, body)]


def table_rows(heading: str, first: str) -> list[list[str]]:
    """The rows of the table under a heading whose header begins with `first`."""
    for block in dict(_sections())[heading].split("\n\n"):
        lines = [line.strip("|").split("|") for line in block.splitlines() if line[:1] == "|"]
        rows = [[cell.strip() for cell in line] for line in lines]
        if rows and rows[0][0] == first:
            return rows[2:]
    raise AssertionError(f"no table of {first!r} under {heading!r}")


def _sections() -> Iterator[tuple[str, str]]:
    for part in re.split(r"^#+ ", PAGE, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        yield heading, re.sub(r"```.*?```\n", "", body, flags=re.DOTALL).strip()


def _units(heading: str, body: str) -> Iterator[Unit]:
    above = ""
    for block in body.split("\n\n"):
        if block.startswith("|"):
            yield from (Unit(heading, plain(row), "") for row in block.splitlines()[2:])
            continue
        for item in _ITEM.split(block):
            before = above if block.startswith("- ") and above.endswith(":") else ""
            for text in filter(None, map(plain, _END.split(item.strip()))):
                yield Unit(heading, text, before)
                before += f" {text}"
        above = block
