"""What the built-in recipes learn of the SMS Spam Collection, over real sockets, in few rounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.data.partition import deal, deduplicate
from scripts.fetch_data import find_data
from scripts.local.nodes import LocalNode, local_nodes
from server import Federation
from shared.errors import DataError
from tests.helpers.messages import write_tsv
from tests.helpers.needed import lacking
from worker_node.data.messages import read_messages

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def owners_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[LocalNode]]:
    """Two owners, to whom the collection without repeats is dealt evenly."""
    try:
        messages = read_messages(find_data()).messages
    except DataError as error:
        lacking("collection", str(error))
    folder = tmp_path_factory.mktemp("owners")
    shards = deal(deduplicate(messages), 2, "iid", seed=1, alpha=1.0)
    flags = {}
    for name, shard in zip(("anne", "bob"), shards, strict=True):
        train = write_tsv(folder / f"{name}.train.tsv", shard.train)
        held_out = write_tsv(folder / f"{name}.held-out.tsv", shard.held_out)
        flags[name] = ("--data", str(train), "--held-out-data", str(held_out))
    with local_nodes(flags) as running:
        yield running


# Rounds, and the ROC AUC after them. Three seeds of splits and weights ended at 0.9963, 0.9932 and
# 0.9977 with `default`, at 0.9683, 0.9664 and 0.9739 with `tutorial`, which is slow to learn. The
# bands leave several times what lies between seeds to either side. Beyond the upper ends lies what
# rows have that are held out and trained on.
BANDS = {
    "default": (4, 0.98, 0.9999),
    "tutorial": (15, 0.94, 0.99),
}


@pytest.mark.parametrize("name", BANDS)
def test_a_built_in_recipe_reaches_what_it_reaches(
    name: str, owners_nodes: list[LocalNode], tmp_path: Path
) -> None:
    rounds, least, most = BANDS[name]
    urls = {node.id: node.url for node in owners_nodes}
    run = Federation(urls, run_dir=tmp_path, rounds=rounds, seed=1).train(name)
    found = [one.metrics.roc_auc for one in run.rounds]
    assert len(found) == rounds
    assert run.rounds[-1].metrics.rows > 800
    assert found[-1] is not None
    assert least < found[-1] < most
