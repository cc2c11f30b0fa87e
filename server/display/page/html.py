"""A run's page: shared/page/html.py with our script, and charts by BokehJS where it is there."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from shared.extras import how_to_install
from shared.page import html

_CHARTS = ("bokeh.min.js", "bokeh-api.min.js")


@cache
def chart_scripts() -> tuple[str, ...]:
    """BokehJS as its package ships it; () where that is not installed. Imports nothing of it."""
    found = importlib.util.find_spec("bokeh")
    if found is None or found.origin is None:
        return ()
    folder = Path(found.origin).parent / "server" / "static" / "js"
    try:
        return tuple((folder / name).read_text(encoding="utf-8") for name in _CHARTS)
    except OSError:
        return ()


def charts_missing() -> str:
    """What to say where there are no chart scripts."""
    how = how_to_install("report")
    return f"charts need BokehJS. {how}; then python -m server show RUN"


def page_of(data: Mapping[str, Any], title: str, *, live: bool = False) -> bytes:
    """The whole page.

    Args:
        data: what page.js shows; numbers, texts, lists and tables alone.
        live: it may ask the place that it came from for more.
    """
    script = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
    return html.page_of(data, title, [*chart_scripts(), script], live=live)
