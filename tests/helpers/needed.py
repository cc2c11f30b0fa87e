"""What some tests need of a machine, and what becomes of them where it is not there.

FEDSMS_TESTS_EXPECT=engine,collection     # where these are missing tests fail, and are not skipped
"""

from __future__ import annotations

import os
from typing import Literal, NoReturn, get_args

import pytest

Need = Literal[
    "engine",
    "namespaces",
    "collection",
    "index",
    "disk",
    "devices",
    "programs",
    "setup",
    "browser",
    "charts",
    "history",
]
"""A Docker engine in a state that tests can use; network namespaces; the SMS Spam Collection; a
package index; a disk that can be mounted; device files; other programs; what ./scripts/setup
makes; a browser, and Playwright to lead it; what requirements-kubernetes.txt names; older commits
of this project."""

VARIABLE = "FEDSMS_TESTS_EXPECT"


def expected(said: str) -> frozenset[str]:
    """The needs that a list with commas names. Raises UsageError for another word."""
    words = frozenset(filter(None, said.split(",")))
    if unknown := words - set(get_args(Need)):
        raise pytest.UsageError(
            f"{VARIABLE} names {', '.join(sorted(unknown))}; known are {', '.join(get_args(Need))}"
        )
    return words


EXPECTED = expected(os.environ.get(VARIABLE, ""))


def lacking(need: Need, why: str) -> NoReturn:
    """Skips the test that calls it; fails it where somebody said that this machine has it."""
    if need in EXPECTED:
        pytest.fail(f"{VARIABLE} says that there is {need} here: {why}", pytrace=False)
    pytest.skip(f"{need}: {why}")
