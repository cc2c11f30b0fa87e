"""`--metrics` at both sides: real nodes and a real run, fetched and read as Prometheus does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from scripts.local.nodes import NO_SETTINGS
from tests.conftest import OwnerFiles
from tests.helpers.running import done_well, finish, refused, run, start, until
from tests.helpers.scraping import fetched, scraped, values

pytestmark = pytest.mark.timeout(180)


def said(process: Popen[str], pattern: str) -> str:
    """What a process has said on standard error, where it fits."""
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(process.wait())


MANY = 1000
"""Rounds, as many as a node allows."""
AT = r"Metrics for Prometheus are at (\S+)"


@pytest.fixture
def bob(owners: list[OwnerFiles], tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The addresses of a node, and of its metrics."""
    owner = owners[0]
    files = ("--data", owner.train_path, "--held-out-data", owner.held_out_path)
    own = ("--id", "bob", "--port", 0, "--insecure", "--json", "--metrics", 0, "--with-stdin")
    node = start("worker_node", "serve", *files, *own, cwd=tmp_path, stdin=PIPE)
    try:
        assert node.stdout is not None
        at = said(node, AT)
        url = re.search(r'"url": "([^"]+)"', node.stdout.readline())
        assert url is not None
        yield url[1], at
    finally:
        node.terminate()
        finish(node)


def test_a_node_counts_requests_and_tells_neither_rows_labels_nor_names(
    bob: tuple[str, str], quick: Path, owners: list[OwnerFiles], tmp_path: Path
) -> None:
    url, at = bob
    before = scraped(at)
    assert values(before, "fedsms_node_well") == {"": 1}
    assert values(before, "fedsms_node_busy") == {"": 0}
    assert values(before, "fedsms_node_paused") == {"": 0}
    line = ("train", *NO_SETTINGS, "--recipe", quick, "--node", f"bob={url}")
    done_well(run("server", *line, cwd=tmp_path))
    found = scraped(at)
    requests = {
        dict(labels)["what"]: value
        for (name, labels), value in found.items()
        if name == "fedsms_node_requests_total" and dict(labels)["decision"] == "allowed"
    }
    assert requests["train"] == requests["evaluate"] == 2
    sent = values(found, "fedsms_node_sent_bytes_total")[""]
    assert sent > 1000
    own = {name: value for (name, _), value in found.items() if name.startswith("fedsms")}
    rows = {
        len(owners[0].train),
        len(owners[0].held_out),
        len(owners[0].train + owners[0].held_out),
    }
    assert not rows & set(own.values())
    text = fetched(at)[2]
    assert not re.search(r"127\.0\.0\.1|coordinator=|loss|spam|ham\b|rows", text)


def test_a_run_is_read_while_it_goes_on(bob: tuple[str, str], quick: Path, tmp_path: Path) -> None:
    line = ("train", *NO_SETTINGS, "--recipe", quick, "--node", f"bob={bob[0]}")
    run = start("server", *line, "--rounds", MANY, "--metrics", 0, cwd=tmp_path)
    try:
        at = said(run, AT)
        until(lambda: values(scraped(at), "fedsms_rounds_total")[""] >= 2, "two rounds")
        found = scraped(at)
        assert values(found, "fedsms_runs_under_way") == {"": 1}
        assert values(found, "fedsms_rounds_planned") == {"": MANY}
        assert set(values(found, "fedsms_node_sent_bytes_total")) == {"bob"}
    finally:
        run.terminate()
        finish(run)


@pytest.mark.parametrize("wrong", ["http", "70000"])
def test_what_is_no_place_is_said_before_anything_begins(tmp_path: Path, wrong: str) -> None:
    train = ("train", "--node", "bob=ws://127.0.0.1:9", "--metrics", wrong)
    refused(run("server", *train, cwd=tmp_path), "is no port", code=2)
    serve = ("serve", "--id", "bob", "--data", "none.tsv", "--insecure", "--metrics", wrong)
    refused(run("worker_node", *serve, cwd=tmp_path), "is no port", code=2)
