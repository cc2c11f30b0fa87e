"""docker-stack.yml on a swarm of one machine, by the words of docs/containers.md."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.containers import TAG, address_of_host, docker, image, inspect, reached_from
from tests.helpers.messages import made_up, write_tsv
from tests.helpers.needed import lacking
from tests.helpers.pages import Block, steps
from tests.helpers.running import ROOT, until
from tests.helpers.terminals import Terminal, give_to_caller

OWNERS = ("bob", "anne")
STACK = "federation"
OURS = ("--filter", f"label=com.docker.stack.namespace={STACK}")
JOB_SECONDS = 400.0
RUNS = f"{STACK}_runs"
VOLUMES = (RUNS, *(f"{STACK}_{owner}-audit" for owner in OWNERS))

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]


@pytest.fixture
def manager(built: None, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal at the manager of a swarm that is there for the test alone."""
    machine = json.loads(docker("info", "--format", "{{json .}}").out)
    if machine["Swarm"]["LocalNodeState"] != "inactive":
        lacking("engine", "this engine is in one already, which is left as it is")
    for volume in VOLUMES:
        if docker("volume", "inspect", volume, check=False).code == 0:
            lacking("engine", f"a volume {volume} is here that the test did not make")
    settings = {"REGISTRY": "", "TAG": TAG, "RECIPE": "tutorial", "ROUNDS": "3"}
    for name in ("COORDINATOR", "BOB", "ANNE"):
        settings[f"{name}_MACHINE"] = machine["Name"]
    folder = tmp_path / "manager"
    folder.mkdir()
    shutil.copy(ROOT / "docker-stack.yml", folder)
    give_to_caller(folder)
    for seed, owner in enumerate(OWNERS):
        (tmp_path / owner).mkdir()
        write_tsv(tmp_path / owner / "messages.tsv", made_up(150, seed=seed))
        (tmp_path / owner).chmod(0o755)
        settings[f"{owner.upper()}_DATA"] = str(tmp_path / owner)
        settings[f"{owner.upper()}_POLICY"] = str(tmp_path / owner / "policy.toml")
        (tmp_path / owner / "policy.toml").write_text("[recipe]\nrounds = 3\n")
    listen = ("--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:0")
    docker("swarm", "init", *listen)
    try:
        yield Terminal(folder, settings)
    finally:
        docker("stack", "rm", STACK, check=False)
        docker("swarm", "leave", "--force", check=False)
        if left := containers():
            docker("rm", "--force", *left, check=False)
        docker("volume", "rm", "--force", *VOLUMES, check=False)


def containers(*flags: str) -> list[str]:
    return docker("ps", "--all", "--quiet", *OURS, *flags).out.split()


def task(service: str) -> str:
    """The container of a service that runs."""
    (found,) = docker(
        "ps", "--quiet", "--filter", f"label=com.docker.swarm.service.name={STACK}_{service}"
    ).out.split()
    return found


def ended_well() -> int:
    """How many of the coordinator's tasks have; each deployment of the job adds one."""
    flags = ("--format", "{{.CurrentState}}", f"{STACK}_coordinator")
    states = docker("service", "ps", *flags).out.splitlines()
    return sum(one.startswith("Complete") for one in states)


def wait_for_jobs(number: int) -> None:
    """A job that finds no node yet is tried again after a while, so it may take some minutes."""
    try:
        until(lambda: ended_well() >= number, f"the end of job {number}", JOB_SECONDS, 0.5)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{history()}") from error


def history() -> str:
    """What Docker and the coordinator say about the job."""
    service = f"{STACK}_coordinator"
    logs = docker("service", "logs", "--raw", service)
    return docker("service", "ps", "--no-trunc", service).out + logs.out + logs.err


def follow(manager: Terminal) -> str:
    """Types what the page says until the stack is to be removed; returns what was written."""
    blocks = [one for one in steps(ROOT / "docs" / "containers.md") if isinstance(one, Block)]
    (settings,) = (one for one in blocks if one.host == "swarm-settings")
    manager.check(settings.script)
    written = ""
    deployments = 0
    for block in (one for one in blocks if one.host == "manager"):
        if "docker stack rm" in block.script:
            return written
        written += manager.type(block.script)
        if "stack deploy" in block.script:
            deployments += 1
            wait_for_jobs(deployments)
    raise AssertionError("the page removes no stack")


def test_the_stack_trains_on_a_swarm_and_keeps_owners_apart(manager: Terminal) -> None:
    written = follow(manager)
    assert "the anchor, signed by this node" in written
    assert "spam  " in written or "ham   " in written
    log = docker("service", "logs", "--raw", f"{STACK}_coordinator")
    assert "round 3/3" in log.out + log.err
    assert "round trip" in log.out, "status ran as a second job"
    assert summary()["status"] == "completed"

    tasks = {owner: inspect(task(owner)) for owner in OWNERS}
    for owner, one in tasks.items():
        assert one["HostConfig"]["ReadonlyRootfs"]
        assert one["HostConfig"]["CapDrop"] == ["ALL"]
        assert one["HostConfig"]["PidsLimit"] == 256
        sources = {mount["Source"]: mount["RW"] for mount in one["Mounts"] if mount["Source"]}
        assert sources.pop(manager.settings[f"{owner.upper()}_DATA"]) is False
        assert sources.pop(manager.settings[f"{owner.upper()}_POLICY"]) is False
        assert list(sources.values()) == [True]
        (audit,) = (mount for mount in one["Mounts"] if mount["RW"] and mount["Source"])
        assert (audit["Name"], audit["Destination"]) == (f"{STACK}_{owner}-audit", "/audit")
        assert list(one["NetworkSettings"]["Networks"]) == [f"{STACK}_{owner}"]
        assert stat_of_key(owner) == "400 fedsms"
        network = inspect(f"{STACK}_{owner}")
        assert network["Internal"]
        assert "encrypted" in network["Options"]
        assert constraints(owner) == [f"node.labels.fedsms.{owner} == yes"]
    only_their_own_is_reached(tasks["anne"]["NetworkSettings"]["Networks"][f"{STACK}_anne"])
    for job in containers("--filter", f"label=com.docker.swarm.service.name={STACK}_coordinator"):
        targets = {mount["Destination"] for mount in inspect(job)["Mounts"]}
        assert targets == {"/tmp", "/runs"}


def summary() -> dict[str, Any]:
    script = "cat /runs/*/summary.json"
    flags = ("--rm", "--network", "none", "-v", f"{RUNS}:/runs:ro", "--entrypoint", "sh")
    found = json.loads(docker("run", *flags, image("coordinator"), "-c", script).out)
    assert isinstance(found, dict)
    return found


def stat_of_key(owner: str) -> str:
    return docker("exec", task(owner), "stat", "-c", "%a %U", "/identity/key.pem").out.strip()


def constraints(service: str) -> list[str]:
    template = "{{json .Spec.TaskTemplate.Placement.Constraints}}"
    out = docker("service", "inspect", "--format", template, f"{STACK}_{service}").out
    found = json.loads(out)
    assert isinstance(found, list)
    return found


def only_their_own_is_reached(at_anne: dict[str, Any]) -> None:
    names = [("anne", 8777), (at_anne["IPAddress"], 8777)]
    assert reached_from(task("anne"), names)
    with socket.create_server(("0.0.0.0", 0)) as listener:  # a service of the host
        port = listener.getsockname()[1]
        bridges = {address_of_host(one) for one in ("bridge", "docker_gwbridge")}
        ends = {address_of_host(f"{STACK}_{owner}") for owner in OWNERS}
        others = [
            *names,
            *((one, port) for one in bridges),
            *((one, 2377) for one in ends),
            ("169.254.169.254", 80),
            ("1.1.1.1", 53),
            ("example.org", 80),
        ]
        assert reached_from(task("bob"), others) == set()
