"""The page's HTML: data, style and scripts in one file, and a policy that lets nothing else run.

What peers said travels as JSON in an element that no browser runs, and page.js puts it on the page
as text. The policy names the hash of each script of ours: whatever else got in would not run, and
nothing on the page may open a connection, a frame or a form.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

CHARTS_MISSING = (
    "charts need BokehJS: pip install --no-deps -r requirements-report.txt, "
    "then python -m server show RUN"
)
_HERE = Path(__file__).parent
_CHARTS = ("bokeh.min.js", "bokeh-api.min.js")
_SEPARATORS = (",", ":")


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


def page_of(data: Mapping[str, Any], title: str) -> bytes:
    """The whole page.

    Args:
        data: what page.js shows; numbers, texts, lists and tables alone.
    """
    scripts = [*chart_scripts(), (_HERE / "page.js").read_text(encoding="utf-8")]
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{_text(title)}</title>",
        f"<style>{style}</style>",
        "</head>\n<body>",
        '<main id="page"><noscript>This page needs JavaScript.</noscript></main>',
        f'<script type="application/json" id="data">{as_json(data)}</script>',
        *(f"<script>{script}</script>" for script in scripts),
        "</body>\n</html>\n",
    ]
    return "\n".join(parts).encode()


def as_json(data: Mapping[str, Any]) -> str:
    """JSON that ends no element, whatever texts are in it. Raises ValueError for NaN."""
    text = json.dumps(data, separators=_SEPARATORS, allow_nan=False)  # all ASCII
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(scripts: list[str]) -> str:
    """Content Security Policy, level 3: https://www.w3.org/TR/CSP3/."""
    hashes = (hashlib.sha256(script.encode()).digest() for script in scripts)
    sources = " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in hashes)
    # BokehJS makes its style elements as it draws, and its pictures from data
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _text(words: str) -> str:
    """Text as HTML."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
