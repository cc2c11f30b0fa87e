"""A page's one file: its policy names its scripts by their hashes, and texts end no element."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from pathlib import Path

import pytest

import shared.page.html as html_module
from shared.page.html import as_json, page_of

SCRIPTS = ["let first = 1;", "let second = '</p>';"]


def policy(page: str) -> dict[str, list[str]]:
    (found,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    return {name: sources for name, *sources in (one.split() for one in found.split(";"))}


@pytest.mark.parametrize("live", [False, True])
def test_the_policy_lets_the_pages_own_scripts_run_and_nothing_else(live: bool) -> None:
    page = page_of({}, "title", SCRIPTS, live=live).decode()
    parts = (Path(html_module.__file__).with_name("parts.js")).read_text(encoding="utf-8")
    hashes = [
        "'sha256-" + base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() + "'"
        for one in (parts, *SCRIPTS)
    ]
    found = policy(page)
    assert found.pop("script-src") == hashes
    assert found.pop("connect-src", None) == (["'self'"] if live else None)
    assert found == {
        "default-src": ["'none'"],
        "style-src": ["'unsafe-inline'"],
        "img-src": ["data:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    assert re.findall(r"<script>(.*?)</script>", page, re.DOTALL) == [parts, *SCRIPTS]


def test_a_page_is_not_live_unless_it_is_said_to_be() -> None:
    assert page_of({}, "title", SCRIPTS) == page_of({}, "title", SCRIPTS, live=False)


def test_what_peers_said_ends_no_element_and_is_read_back_as_it_was() -> None:
    data = {"a": "</script><b>&amp; \u2028 ä", "b": [1, None]}
    page = page_of(data, "a <b> & c", SCRIPTS).decode()
    assert "<title>a &lt;b&gt; &amp; c</title>" in page
    (told,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert json.loads(told) == data
    assert not set("<>&") & set(told)
    assert " " not in as_json({"a": 1, "b": [1, 2]})
    with pytest.raises(ValueError, match="Out of range"):
        as_json({"a": math.nan})
