"""Links that lead nowhere, in pages of HTML and of Markdown; none to other machines is tried."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[[^\]]*\]\(<?([^)\s>]+)>?\)")
_HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


@cache
def _html(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def broken_in_html(folder: Path) -> Iterator[str]:
    """A line for each link in the folder's pages whose file or anchor is not there."""
    for path in sorted(folder.rglob("*.html")):
        for link in _html(path).links:
            if not _leads_somewhere(path, link):
                yield f"{path.relative_to(folder)}: {link}"


def broken_in_markdown(pages: Iterable[Path]) -> Iterator[str]:
    """The same for pages of Markdown, and the Markdown of notebooks."""
    for path in pages:
        for link in _LINK.findall(_CODE.sub("", _FENCE.sub("", _markdown(path)))):
            if not _leads_somewhere(path, link):
                yield f"{path.name}: {link}"


def _markdown(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def _leads_somewhere(page: Path, link: str) -> bool:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.exists():
        return False
    return not parts.fragment or unquote(parts.fragment) in _anchors(target)


def _anchors(path: Path) -> set[str]:
    if path.suffix == ".html":
        return _html(path).anchors
    found: list[str] = []
    for title in _HEADING.findall(_FENCE.sub("", _markdown(path))):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)
