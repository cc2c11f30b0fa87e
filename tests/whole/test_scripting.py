"""docs/scripting.md, executed as it is written, on made-up messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.messages import made_up, write_tsv
from tests.helpers.running import ROOT
from tests.helpers.scripted_pages import parts, run_page, shape

PAGE = ROOT / "docs" / "scripting.md"


@pytest.mark.timeout(280)
def test_the_page_prints_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    messages = write_tsv(tmp_path / "messages.tsv", made_up(1200))
    printed, errors = run_page(PAGE, messages)
    shown = [part.shown for part in parts(PAGE)]
    assert len(shown) > 8
    assert [shape(one) for one in printed] == [shape(one) for one in shown]
    assert errors == ""


@pytest.mark.parametrize(
    ("printed", "other"),
    [("stopped 3", "completed 3"), ("1 0.5 {}", "1 0.5 {} x"), ("a\nb", "a"), ("", "a")],
)
def test_outputs_of_other_words_are_different(printed: str, other: str) -> None:
    assert shape(printed) != shape(other)
    assert shape("1 0.5\n2 0.6\nend") == shape("1 0.25\nend")
