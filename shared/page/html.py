"""A page's HTML: data, style and scripts in one file, and a policy that lets nothing else run.

What peers said travels as JSON in an element that no browser runs, and scripts put it on the page
as text. The policy names the hash of each script of ours: whatever else got in would not run, and
nothing on the page may open a connection, a frame or a form.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_ONLY_HERE = "; connect-src 'self'"
_SEPARATORS = (",", ":")


def page_of(
    data: Mapping[str, Any], title: str, scripts: Sequence[str], *, live: bool = False
) -> bytes:
    """The whole page.

    Args:
        data: what the last script shows; numbers, texts, lists and tables alone.
        scripts: run after parts.js, in this order.
        live: it may ask the place that it came from for more.
    """
    scripts = [(_HERE / "parts.js").read_text(encoding="utf-8"), *scripts]
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts, live)}">',
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


def _policy(scripts: Sequence[str], live: bool) -> str:
    """Content Security Policy, level 3: https://www.w3.org/TR/CSP3/."""
    hashes = (hashlib.sha256(script.encode()).digest() for script in scripts)
    sources = " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in hashes)
    # BokehJS makes its style elements as it draws, and its pictures from data
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; img-src data:; "
        f"base-uri 'none'; form-action 'none'{_ONLY_HERE if live else ''}"
    )


def _text(words: str) -> str:
    """Text as HTML."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
