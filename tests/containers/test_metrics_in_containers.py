"""Metrics and trackers of images: to whom figures go, and what is said without their packages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.containers import (
    EXTRAS,
    Federation,
    docker,
    image,
    inspect,
    wait_until_answering,
)
from tests.helpers.messages import marked, write_tsv
from tests.helpers.running import Finished
from tests.helpers.scraping import parsed, values

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

CALLER = (1234, 1235) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
FETCH = """
import sys, urllib.request
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
except OSError as error:
    sys.exit(f"closed: {error}")
"""


@pytest.fixture
def federation(built_with_extras: None, tmp_path: Path) -> Iterator[Federation]:
    settings = {
        "SMS_DATA": str(write_tsv(tmp_path / "messages.tsv", marked(240))),
        "TAG": EXTRAS,
        "RUNS_TO_SERVE": "0",
        "PATIENCE": "0",
    }
    name = f"fedsms-tests-{os.getpid()}-metrics"
    made = Federation(tmp_path / "clone", name, settings, over=("metrics.yml",))
    made.prepare(CALLER)
    try:
        yield made
    finally:
        made.clean_up()


def fetched_from(network: str, address: str) -> Finished:
    """What somebody on a network gets who is no part of the federation."""
    flags = ("--rm", "--network", network, "--entrypoint", "python", image("setup"))
    return docker("run", *flags, "-c", FETCH, address, check=False)


def test_a_nodes_figures_are_on_a_network_of_their_own_that_its_coordinator_is_not_on(
    federation: Federation,
) -> None:
    federation.compose("up", "-d", "bob")
    container = federation.container("bob")
    wait_until_answering(container)
    own, theirs = federation.network("bob-metrics"), federation.network("bob")
    networks = inspect(container)["NetworkSettings"]["Networks"]
    assert set(networks) == {own, theirs}
    read = fetched_from(own, "http://bob-metrics:9101/metrics")
    assert read.code == 0, read.err
    assert values(parsed(read.out), "fedsms_node_well") == {"": 1}
    # on its coordinators' network, which they share with nobody but bob, there is no such port
    for place in ("bob", networks[theirs]["IPAddress"], networks[own]["IPAddress"]):
        assert fetched_from(theirs, f"http://{place}:9101/metrics").err.startswith("closed"), place
    assert "closed" in fetched_from(own, f"http://{networks[theirs]['IPAddress']}:9101/").err


@pytest.mark.parametrize(
    ("target", "flags", "package", "extra"),
    [
        ("node", ("serve", "--id", "bob", "--insecure"), "prometheus_client", "metrics"),
        ("coordinator", ("train", "--node", "bob=ws://127.0.0.1:9"), "tensorboardX", "tensorboard"),
    ],
)
def test_an_image_without_the_package_says_how_it_is_built_with_it(
    built: None, target: str, flags: tuple[str, ...], package: str, extra: str
) -> None:
    variable = {"metrics": "FEDSMS_METRICS=9101", "tensorboard": "FEDSMS_TRACK=tensorboard"}[extra]
    asked = ("--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "-e", variable)
    program = ("--entrypoint", "python", image(target), "-m")
    module = {"node": "worker_node", "coordinator": "server"}[target]
    done = docker("run", *asked, *program, module, *flags, check=False)
    assert done.code == 2, done.err
    assert f"needs the package {package}, which is not installed" in done.err
    assert f"docker build --build-arg EXTRAS={extra}" in done.err
    assert "pip install" not in done.err
