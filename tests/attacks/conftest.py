"""What attacks share: PySyft's own worker, and that our node serves afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.scene import StockWorker, stock_worker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After every attack in this folder the node does a whole session's work for somebody else."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "bob" in getattr(
            item, "fixturenames", ()
        ):
            # a mark that is added here comes too late to bring its fixture
            item.fixturenames.append("still_serves")  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def stock() -> Iterator[StockWorker]:
    """PySyft's own worker, for the attacks of one file."""
    with stock_worker() as running:
        yield running
