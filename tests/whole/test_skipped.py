"""What is skipped is told at the end, and fails where it was expected to be there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.needed import VARIABLE, expected
from tests.helpers.running import ROOT, Finished, run_python

TESTS = """
import pytest
from tests.conftest import pytest_terminal_summary
from tests.helpers.needed import lacking

@pytest.fixture
def engine() -> None:
    lacking("engine", "no Docker engine answers")

def test_in_a_container(engine: None) -> None: ...

def test_in_another(engine: None) -> None: ...

def test_of_the_collection() -> None:
    lacking("collection", "SMS_DATA names none")

def test_anywhere() -> None: ...
"""


def outcome(folder: Path, expecting: str = "") -> Finished:
    (folder / "test_some.py").write_text(TESTS, encoding="utf-8")
    (folder / "conftest.py").write_text(
        "from tests.conftest import pytest_terminal_summary\n", encoding="utf-8"
    )
    options = ("-q", "-c", "/dev/null", "--rootdir", folder, "-p", "no:cacheprovider")
    extra: dict[str, Any] = {VARIABLE: expecting}
    return run_python("-m", "pytest", *options, folder, cwd=ROOT, **extra)


def test_the_end_says_what_was_skipped_and_why(tmp_path: Path) -> None:
    done = outcome(tmp_path)
    assert done.code == 0, done.out
    told = done.out.partition("not tested here")[2]
    assert "1 for collection: SMS_DATA names none\n    test_some.py: 1\n" in told
    assert "2 for engine: no Docker engine answers\n    test_some.py: 2\n" in told
    assert "1 passed, 3 skipped" in told


def test_what_was_expected_and_is_not_there_fails(tmp_path: Path) -> None:
    done = outcome(tmp_path, "engine,namespaces")
    assert done.code == 1
    assert "says that there is engine here: no Docker engine answers" in done.out
    assert "1 passed, 1 skipped, 2 errors" in done.out


def test_a_need_that_nobody_knows_is_an_error() -> None:
    assert expected("engine,collection") == {"engine", "collection"}
    assert expected("") == frozenset()
    with pytest.raises(pytest.UsageError, match="names motor; known are engine"):
        expected("engine,motor")
