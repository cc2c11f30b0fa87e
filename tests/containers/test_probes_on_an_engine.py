"""The chart's probes, asked of a real node in a container that hangs, or has lost its trainer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.charts import Cluster, logs, owner, stand_in
from tests.helpers.containers import START_SECONDS, docker, inspect
from tests.helpers.identities import make_federation
from tests.helpers.running import until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

KILL_TRAINER = """
import os, pathlib, signal
for one in pathlib.Path("/proc").glob("[0-9]*/comm"):
    if one.read_text().strip() == "fedsms-trainer":
        os.kill(int(one.parent.name), signal.SIGKILL)
"""


@pytest.fixture
def cluster(built: None, tmp_path: Path) -> Iterator[Cluster]:
    with stand_in(tmp_path) as made:
        yield made


def bobs(cluster: Cluster) -> list[Any]:
    """What is installed; asked more often than the chart says, failing and killed sooner."""
    from scripts.kubernetes.objects import workloads
    from scripts.kubernetes.rendering import documents

    ours = make_federation(cluster.folder / "ours")
    ours.coordinator()
    cluster.secrets.append(f"fedsms-bob/identity={ours.node('bob')}")
    text = owner(cluster, "bob", 0, identity={"secret": "identity"}).read_text()
    found = workloads(documents(text))
    pod = found[0].pod
    pod.update(terminationGracePeriodSeconds=1)  # type: ignore[attr-defined]  # what was read is a dict
    pod["containers"][0]["livenessProbe"].update(periodSeconds=0.2, failureThreshold=1)
    return found


def health(node: str) -> dict[str, Any]:
    said = docker("exec", node, "python", "-m", "worker_node", "health", check=False)
    text = said.out if said.out else said.err[said.err.index("{") : said.err.index("}") + 1]
    told: dict[str, Any] = json.loads(text)
    return told


def test_a_node_that_hangs_is_started_again_and_one_whose_trainer_died_is_not(
    cluster: Cluster,
) -> None:
    from scripts.containers.engine import engine
    from scripts.kubernetes.running import serving
    from scripts.kubernetes.stand_in import StandIn, stored_files

    found = bobs(cluster)
    secrets = [("fedsms-bob", "identity", Path(cluster.secrets[0].partition("=")[2]))]
    claims = {("fedsms-bob", "rows"): Path(cluster.claims[0].partition("=")[2])}
    said: list[str] = []
    with engine() as client:
        bob = StandIn(client, cluster.name, stored_files(secrets), claims)
        with serving(bob, found, said.append, 0.5) as watches:
            node, watch = cluster.container("fedsms-bob", "bob-0", "node"), watches["bob-0"]
            assert said == ["bob-0 is ready"]
            docker("exec", node, "python", "-c", KILL_TRAINER)
            until(lambda: health(node)["well"] is False, "the node to notice", START_SECONDS, 0.5)
            asked = watch.asked
            until(lambda: watch.asked > asked + 5, "the probe, five times more", 300, 0.2)
            assert (watch.restarts, logs(node).count("is ready at")) == (0, 1)

            docker("kill", "--signal", "STOP", node)
            until(lambda: watch.restarts == 1, "the probe to have it started again", 300, 0.5)
            until(lambda: logs(node).count("is ready at") == 2, "the node", START_SECONDS, 0.5)
            until(lambda: health(node)["well"], "the node to be well", START_SECONDS, 0.5)
            assert inspect(node)["State"]["Running"]
