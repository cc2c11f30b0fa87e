"""Each machine has its own compose file: owners who dial out, and a coordinator with one port."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.containers import (
    EXTRAS,
    START_SECONDS,
    Federation,
    address_of_host,
    docker,
    inspect,
    wait_until_answering,
    wait_until_well,
)
from tests.helpers.messages import marked, messages_found, write_tsv
from tests.helpers.running import Finished, until
from tests.helpers.scraping import scraped, values
from tests.helpers.trackers import curve

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

OWNERS = ("bob", "anne")
CALLER = (1234, 1235) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
LISTENING = """
import pathlib
tables = [one for one in pathlib.Path("/proc/net").iterdir() if one.name in ("tcp", "tcp6")]
lines = [line.split() for one in tables for line in one.read_text().splitlines()[1:]]
print([line[1] for line in lines if line[3] == "0A" and not line[1].startswith("0B00007F")])
"""


def project(name: str) -> str:
    return f"fedsms-tests-{os.getpid()}-{name}"


def free_place(address: str) -> str:
    with socket.socket() as one:
        one.bind((address, 0))
        return f"{address}:{one.getsockname()[1]}"


@pytest.fixture
def coordinator(built_with_extras: None, tmp_path: Path) -> Iterator[Federation]:
    place = free_place(address_of_host("bridge"))
    settings = {"AT": place, "PUBLISH": place, "NODES": " ".join(OWNERS)}
    settings |= {"RECIPE": "tutorial", "ROUNDS": "2", "TAG": EXTRAS, "TRACK": "tensorboard"}
    settings["PUBLISH_METRICS"] = free_place("127.0.0.1")
    file = "docker-compose.coordinator.yml"
    over = ("coordinator-metrics.yml",)
    made = Federation(
        tmp_path / "coordinator", project("coordinator"), settings, file=file, over=over
    )
    made.prepare(CALLER)
    try:
        yield made
    finally:
        made.clean_up()


@pytest.fixture
def owners(built_with_extras: None, tmp_path: Path) -> Iterator[dict[str, Federation]]:
    """Anne's node serves metrics as well."""
    made = {}
    for seed, name in enumerate(OWNERS):
        settings: dict[str, str] = {}
        over: tuple[str, ...] = ()
        if name == "anne":
            settings = {"TAG": EXTRAS, "PUBLISH_METRICS": free_place("127.0.0.1")}
            over = ("owner-metrics.yml",)
        file = "docker-compose.owner.yml"
        one = Federation(tmp_path / name, project(name), settings, file=file, over=over)
        one.prepare(CALLER)
        (one.folder / "messages").mkdir()
        write_tsv(one.folder / "messages" / "messages.tsv", marked(160, seed=seed))
        made[name] = one
    try:
        yield made
    finally:
        for one in made.values():
            one.clean_up()


def ask(coordinator: Federation, *arguments: str) -> Finished:
    """What a command of the coordinator says, which must succeed; it has the port."""
    flags = ("run", "--rm", "-T", "--service-ports", "coordinator")
    return coordinator.compose(*flags, *arguments)


def secret_of(line: str) -> str:
    """The part behind the invitation's own name, which is no secret."""
    return line.strip().rpartition("/")[2].partition(".")[2]


def test_owners_join_with_a_line_and_train_where_one_port_alone_is_open(
    coordinator: Federation, owners: dict[str, Federation]
) -> None:
    ask(coordinator, "init")
    lines = {name: ask(coordinator, "invite", name).out for name in OWNERS}
    coordinator.compose("up", "-d")
    for name, owner in owners.items():
        owner.compose("run", "--rm", "-T", "join", stdin=lines[name])
        owner.compose("up", "-d")
    for name, owner in owners.items():
        wait_until_answering(owner.container("node"))
        assert_confined(owner, secret_of(lines[name]))
    joined = coordinator.compose("logs", "--no-color", "up").out
    assert all(f"node {name} has joined" in joined for name in OWNERS)
    assert not any(secret_of(line) in joined for line in lines.values())

    asks = ("as_owner_of", "runs", "python", "-m", "server", "train", "--up")
    said = coordinator.compose("exec", "-T", "up", *asks)
    assert "round 2/2" in said.out + said.err
    figures_are_served_at_this_machine_alone(coordinator, owners["anne"])
    (run,) = (path for path in coordinator.runs.iterdir() if path.is_dir())
    assert json.loads((run / "summary.json").read_text(encoding="utf-8"))["status"] == "completed"
    assert (run / "model.safetensors").stat().st_uid == CALLER[0]
    assert [step for step, _ in curve(run, "round/loss")] == [1, 2]
    texts = [one.text for seed in range(len(OWNERS)) for one in marked(160, seed=seed)]
    for file in filter(Path.is_file, run.rglob("*")):
        assert not messages_found(file.read_bytes(), texts), file

    for owner in owners.values():
        wait_until_well(owner.container("node"))  # as the engine tells it, of itself
    restarted_nodes_come_back(owners)
    coordinator.compose("stop", "up")
    status = json.loads(ask(coordinator, "status", "--json").out)
    assert all(name in json.dumps(status) for name in OWNERS)
    for owner in owners.values():
        assert sum("train" in json.dumps(line) for line in owner.log("node")) >= 2


def figures_are_served_at_this_machine_alone(coordinator: Federation, anne: Federation) -> None:
    whole = scraped(f"http://{coordinator.settings['PUBLISH_METRICS']}/metrics")
    assert values(whole, "fedsms_rounds_total") == {"": 2}
    assert values(whole, "fedsms_runs_total") == {"completed": 1}
    own = scraped(f"http://{anne.settings['PUBLISH_METRICS']}/metrics")
    trained = {labels for name, labels in own if name == "fedsms_node_requests_total"}
    assert (("decision", "allowed"), ("what", "train")) in trained
    port = anne.settings["PUBLISH_METRICS"].partition(":")[2]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((address_of_host("bridge"), int(port)), timeout=5)


def restarted_nodes_come_back(owners: dict[str, Federation]) -> None:
    """Their process ends; the engine starts them, and they need no invitation."""
    containers = [owner.container("node") for owner in owners.values()]
    for container in containers:
        docker("exec", container, "python", "-c", "import os; os.kill(1, 15)")
    for container in containers:
        until(partial(was_restarted, container), "a restart", START_SECONDS, 0.1)
        wait_until_answering(container)


def was_restarted(container: str) -> bool:
    return bool(inspect(container)["RestartCount"] == 1)


def assert_confined(owner: Federation, secret: str) -> None:
    found = inspect(owner.container("node"))
    host = found["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert (host["Memory"], host["PidsLimit"]) == (2**30, 256)
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert {one["Destination"] for one in found["Mounts"] if one["RW"]} == {"/audit"}
    if owner.over:  # metrics, and nothing else
        address, _, port = owner.settings["PUBLISH_METRICS"].partition(":")
        assert host["PortBindings"] == {"9101/tcp": [{"HostIp": address, "HostPort": port}]}
        assert owner.python("node", LISTENING).out.strip() == "['00000000:238D']"
    else:
        assert not host["PortBindings"]
        assert owner.python("node", LISTENING).out.strip() == "[]"
    assert len(secret) > 20
    assert secret not in json.dumps(found)
