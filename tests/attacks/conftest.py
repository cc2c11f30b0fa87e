"""What attacks share: PySyft's own worker, and that our node serves afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.scene import StockWorker, stock_worker


@pytest.fixture(autouse=True)
def serves_afterwards(request: pytest.FixtureRequest) -> None:
    """After every attack on `bob` the node does a whole session's work for somebody else."""
    if "bob" in request.fixturenames:
        request.getfixturevalue("still_serves")


@pytest.fixture(scope="module")
def stock() -> Iterator[StockWorker]:
    """PySyft's own worker, for the attacks of one file."""
    with stock_worker() as running:
        yield running
