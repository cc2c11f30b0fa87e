"""The charts' pods as containers of a real engine: whole rounds, a kill, invitations, failures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest

from tests.helpers.charts import HOME, PROGRAM, Cluster, logs, owner, stand_in
from tests.helpers.containers import START_SECONDS, docker, inspect
from tests.helpers.identities import Federation, make_federation
from tests.helpers.messages import marked, messages_found
from tests.helpers.running import environment, until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

OWNERS = ("bob", "anne")
RECIPE = """
[text]
tokens = 12
buckets = 512
[model]
embedding = 8
hidden = 6
[training]
optimizer = "adam"
learning_rate = 0.02
batch_size = 16
[federation]
rounds = 30
"""


@pytest.fixture
def cluster(built: None, tmp_path: Path) -> Iterator[Cluster]:
    with stand_in(tmp_path) as made:
        yield made


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    return make_federation(tmp_path / "ours")


def assert_confined(cluster: Cluster, name: str, written: set[str]) -> None:
    found = inspect(name)
    host = found["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None)
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert (found["Config"]["User"], host["GroupAdd"]) == ("10001:10001", ["10001"])
    assert host["Memory"] == 2**30
    assert not host["Init"]
    assert {one["Destination"] for one in found["Mounts"] if one["RW"]} == written
    assert list(host["Tmpfs"]) == ["/tmp"]


def test_a_job_whose_coordinator_is_killed_ends_with_the_model_of_one_that_was_not(
    cluster: Cluster, ours: Federation
) -> None:
    cluster.secrets.append(f"{HOME}/identity={ours.coordinator()}")  # whom the owners let in
    nodes = {}
    files = []
    for seed, name in enumerate(OWNERS):
        cluster.secrets.append(f"fedsms-{name}/identity={ours.node(name)}")
        policy = {"text": "fewest_rows = 20\n"}
        files.append(owner(cluster, name, seed, identity={"secret": "identity"}, policy=policy))
        nodes[name] = f"wss://{name}.fedsms-{name}.svc:8777"
    values = {"identity": {"secret": "identity"}, "nodes": nodes, "recipe": RECIPE}

    first = cluster.render("fedsms-coordinator", "co", HOME, **values)
    said = run_and_kill_once(
        cluster, cluster.container(HOME, "co-first", "coordinator"), files, first
    )
    assert said.count("the container coordinator ended with 137: Count") == 1, said
    assert "co-first is complete" in said
    assert "round 30/30" in said
    for name in OWNERS:
        assert f"{name}-0: started again by its probes 0 times" in said

    second = cluster.render("fedsms-coordinator", "co", HOME, **values, run="second")
    done = cluster.run(second)  # the owners' pods still serve
    assert done.code == 0, done.err
    (killed, settings), (whole, others) = cluster.digest("first"), cluster.digest("second")
    assert killed == whole
    assert (len(settings["resumed_after"]), others["resumed_after"]) == (1, [])
    again = cluster.run(second)  # a Job's pod that is lost once it has ended
    assert again.code == 0
    assert "has come to its end" in again.err
    nothing_leaves_and_all_is_confined(cluster)


def run_and_kill_once(cluster: Cluster, container: str, files: list[Path], job: Path) -> str:
    """Runs all, and kills the coordinator amid its run; what was said."""
    with NamedTemporaryFile("w+") as told:
        line = [sys.executable, str(PROGRAM), *cluster.arguments(*files, job)]
        running = subprocess.Popen(line, stdout=told, stderr=told, env=environment())
        try:
            until(lambda: b"round  4/30" in Path(told.name).read_bytes(), "four rounds", 600)
            docker("kill", container)
            assert running.wait(600) == 0, (told.seek(0), told.read())
        finally:
            running.kill()
            running.wait()
        told.seek(0)
        return told.read()


def nothing_leaves_and_all_is_confined(cluster: Cluster) -> None:
    texts = [one.text for seed in range(len(OWNERS)) for one in marked(160, seed=seed)]
    everything = cluster.claim(HOME, "co-runs", "find /claim -type f -exec cat {} +")
    assert len(everything) > 10_000
    assert not messages_found(everything, texts)
    assert_confined(cluster, cluster.container(HOME, "co-second", "coordinator"), {"/runs"})
    for name in OWNERS:
        node = cluster.container(f"fedsms-{name}", f"{name}-0", "node")
        assert_confined(cluster, node, {"/audit"})
        # the key is the group's to read, which the node finds right
        mode = docker("exec", node, "stat", "-Lc", "%a %u %g", "/identity/key.pem").out
        assert mode.split() == ["440", "0", "10001"]
        assert "private key" not in logs(node)
        assert "the anchor, signed by this node" in (
            docker("exec", node, "python", "-m", "worker_node", "log", "--verify").out
        )
        docker("stop", "-t", "15", node)
        assert inspect(node)["State"]["ExitCode"] == 0
        assert b"audit.jsonl" in cluster.claim(f"fedsms-{name}", f"audit-{name}-0", "ls /claim")


def test_owners_join_by_invitation_and_dial_a_coordinator_that_stays(cluster: Cluster) -> None:
    stays = cluster.render(
        "fedsms-coordinator", "co", HOME, mode="standing", recipe=RECIPE, settings={"rounds": 2}
    )
    done = cluster.run(stays)
    assert done.code == 0, done.err
    coordinator = cluster.container(HOME, "co", "coordinator")
    files = []
    for seed, name in enumerate(OWNERS):
        line = docker("exec", coordinator, "python", "-m", "server", "invite", name).out
        folder = cluster.folder / f"line-{name}"
        folder.mkdir()
        (folder / "line").write_text(line)
        cluster.secrets.append(f"fedsms-{name}/line={folder}")
        own = {"connection": "dials", "identity": {"invitation": "line"}}
        files.append(owner(cluster, name, seed, **own))
    done = cluster.run(*files)
    assert done.code == 0, done.err
    assert all(f"node {name} has joined" in logs(coordinator) for name in OWNERS)
    assert_confined(cluster, coordinator, {"/federation", "/runs"})

    said = docker("exec", coordinator, "python", "-m", "server", "train", "--up")
    assert "round 2/2" in said.out + said.err
    summary = cluster.claim(HOME, "co-runs", "cat /claim/*/summary.json")
    assert json.loads(summary)["status"] == "completed"
    for name in OWNERS:
        node = cluster.container(f"fedsms-{name}", f"{name}-0", "node")
        assert_confined(cluster, node, {"/audit"})
        place = ("fedsms-" + name, f"identity-{name}-0")
        assert cluster.claim(*place, "stat -c '%a %u' /claim/key.pem") == b"600 10001\n"
        assert "private key" not in logs(node)

    # new pods of the same claims: the lines are spent, and nobody joins again
    done = cluster.run(stays, *files)
    assert done.code == 0, done.err
    here = [f"node {name} is here" for name in OWNERS]
    until(lambda: all(one in logs(coordinator) for one in here), "both again", START_SECONDS, 0.5)
    assert "has joined" not in logs(coordinator)


def test_what_no_new_start_repairs_fails_the_job_at_once_and_what_may_pass_is_tried_again(
    cluster: Cluster, ours: Federation
) -> None:
    folder = cluster.folder / "without-list"
    folder.mkdir()
    for name in ("key.pem", "certificate.pem", "ca.pem"):
        (folder / name).write_bytes((ours.coordinator() / name).read_bytes())
    cluster.secrets += [f"{HOME}/broken={folder}", f"{HOME}/whole={ours.coordinator()}"]
    values: dict[str, Any] = {"nodes": {"bob": "wss://nobody.invalid:8777"}}
    values["job"] = {"backoffLimit": 1}
    broken = cluster.render(
        "fedsms-coordinator", "broken", HOME, identity={"secret": "broken"}, **values
    )
    done = cluster.run(broken)
    assert done.code == 1
    assert done.err.count("the container coordinator ended with 8: FailJob") == 1, done.err
    assert "Count" not in done.err

    alone = cluster.render(
        "fedsms-coordinator", "alone", HOME, identity={"secret": "whole"}, **values
    )
    done = cluster.run(alone)
    assert done.code == 1
    assert done.err.count("the container coordinator ended with 4: Count") == 2, done.err
