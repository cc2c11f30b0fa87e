"""What was skipped, in words: each reason once, with the tests that it kept from running."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import pytest


def lines_of(reports: Iterable[pytest.TestReport | pytest.CollectReport]) -> Iterator[str]:
    """A line a reason, and below it the files of its tests with their numbers."""
    files: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for report in reports:
        files[_reason(report)][report.nodeid.partition("::")[0]] += 1
    for reason, counts in sorted(files.items()):
        yield f"{counts.total()} for {reason}"
        for file, count in sorted(counts.items()):
            yield f"    {file}: {count}"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """pytest's own words for a skip are a file, a line and `Skipped: why`."""
    why = report.longrepr
    words = str(why[2]) if isinstance(why, tuple) else str(why)
    return words.removeprefix("Skipped: ")
