"""A short run of scripts/fuzz.py; the long one is for who changes the decoder or the session."""

from __future__ import annotations

import asyncio

import pytest

from scripts.fuzz import fuzz


@pytest.mark.parametrize("pointers", [False, True])
def test_no_mangled_frame_breaks_a_session_or_stays_without_an_answer(pointers: bool) -> None:
    found = asyncio.run(fuzz(600 if pointers else 3000, seed=3, pointers=pointers))
    assert found.answers > 20
    assert found.refused > 200
    assert found.growth < 64 * 2**20
