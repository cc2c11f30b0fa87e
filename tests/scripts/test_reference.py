"""The reference made from the docstrings, and links that lead nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.links import broken_in_html, broken_in_markdown
from tests.helpers.running import ROOT, done_well, run_python

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*.ipynb")]


def test_every_link_of_the_pages_leads_somewhere() -> None:
    assert len(PAGES) > 15
    assert list(broken_in_markdown(PAGES)) == []


def test_links_of_markdown_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    other = tmp_path / "other.md"
    other.write_text("# One `two` three\n\n```\n# no heading\n```\n## One `two` three\n")
    page = tmp_path / "page.md"
    right = ["other.md", "other.md#one-two-three", "other.md#one-two-three-1", "#here", "../"]
    wrong = ["others.md", "other.md#one", "other.md#no-heading", "other.md#one-two-three-2", "#x"]
    lines = "".join(f"[a]({link})\n" for link in [*right, "https://there.example/x#y", *wrong])
    page.write_text(f"# Here\n{lines}`[a](code.md)`\n```\n[a](code.md)\n```\n")
    assert list(broken_in_markdown([page])) == [f"page.md: {link}" for link in wrong]


def test_links_of_html_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text('<p id="one">')
    links = "".join(f'<a href="{link}">' for link in ("other.html#one", "#x", "none.html"))
    (tmp_path / "page.html").write_text(links)
    assert list(broken_in_html(tmp_path)) == ["page.html: #x", "page.html: none.html"]


@pytest.mark.timeout(280)
def test_the_reference_has_the_public_names_and_a_page_a_module(tmp_path: Path) -> None:
    pytest.importorskip("pdoc", reason="requirements-dev.txt is not installed")
    done_well(run_python("scripts/reference.py", "--out", tmp_path))
    for page, names in {
        "server.html": ("Federation.rounds", "AsyncFederation.train", "EarlyStopping", "Run.model"),
        "worker_node.html": ("Node.serve_forever",),
        "shared/errors.html": ("PolicyRefused",),
    }.items():
        anchors = set(re.findall(r'id="([^"]+)"', (tmp_path / page).read_text(encoding="utf-8")))
        assert set(names) <= anchors
    for package in ("server", "worker_node", "shared"):
        for path in (ROOT / package).rglob("*.py"):
            module = path.relative_to(ROOT).with_suffix("")
            if path.name == "__main__.py":
                continue
            written = module.parent if path.name == "__init__.py" else module
            assert (tmp_path / written.with_suffix(".html")).exists(), module
