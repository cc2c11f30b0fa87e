"""docs/containers.md on machines that share no engine, tried literally: each is a folder here."""

from __future__ import annotations

import json
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.containers import (
    TAG,
    address_of_host,
    docker,
    image,
    inspect,
    wait_until_answering,
    wait_until_well,
)
from tests.helpers.messages import marked, messages_found, write_tsv
from tests.helpers.needed import lacking
from tests.helpers.pages import Block, Carry, steps
from tests.helpers.running import ROOT
from tests.helpers.terminals import Terminal, give_to_caller

OWNERS = ("bob", "anne")
MACHINES = ("coordinator", *OWNERS)
KEPT = {
    "audit.jsonl",
    "audit.jsonl.anchor",
    "counts.json",
    ".counts.json.lock",
    "participation.json",
    "privacy.jsonl",
    "privacy.jsonl.anchor",
    "privacy.results",
    "receipts.jsonl",
}

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]


@pytest.fixture
def machines(built: None, tmp_path: Path) -> Iterator[dict[str, Terminal]]:
    """A terminal on each machine, with messages where their owners are."""
    names = [f"fedsms-node-{owner}" for owner in OWNERS]
    for name in names:
        if docker("container", "inspect", name, check=False).code == 0:
            lacking("engine", f"a container {name} is here that the test did not make")
    address = address_of_host("bridge")
    settings = {owner.upper(): f"{address}:{port}" for owner, port in ports(address).items()}
    settings["TAG"] = TAG
    found = {name: Terminal(tmp_path / name, settings) for name in MACHINES}
    for machine in found.values():
        machine.folder.mkdir()
    for seed, owner in enumerate(OWNERS):
        (found[owner].folder / "data").mkdir()
        write_tsv(found[owner].folder / "data" / "messages.tsv", marked(160, seed=seed))
    for machine in found.values():
        give_to_caller(machine.folder)
    try:
        yield found
    finally:
        docker("rm", "--force", *names, check=False)


def ports(address: str) -> dict[str, int]:
    """A free port for each owner."""
    with socket.socket() as one, socket.socket() as other:
        one.bind((address, 0))
        other.bind((address, 0))
        free = (one.getsockname()[1], other.getsockname()[1])
        return dict(zip(OWNERS, free, strict=True))


def follow(machines: dict[str, Terminal]) -> str:
    """Types and sends what the page says, but for the nodes' end; returns what was written."""
    written = ""
    seen = set()
    for step in steps(ROOT / "docs" / "containers.md"):
        if isinstance(step, Carry):
            (source, path), (target, copy) = step.source, step.target
            shutil.copy(machines[source].folder / path, machines[target].folder / copy)
            continue
        seen.add(step.host)
        if step.host == "settings":
            machines["bob"].check(step.script)
        elif "docker rm" not in step.script:
            written += type_block(machines, step)
    assert {"settings", "images", "everywhere", *MACHINES} <= seen
    return written


def type_block(machines: dict[str, Terminal], block: Block) -> str:
    """The fixtures have made the images; blocks of the swarm are another test's."""
    names = MACHINES if block.host == "everywhere" else (block.host,)
    written = "".join(machines[name].type(block.script) for name in names if name in machines)
    if "--detach" in block.script:
        wait_until_answering(f"fedsms-node-{block.host}")
    return written


def test_a_stranger_who_follows_the_page_trains_with_plain_containers(
    machines: dict[str, Terminal],
) -> None:
    written = follow(machines)
    assert "fingerprint" in written
    assert "round 15/15" in written
    assert written.count("the anchor, signed by this node") == len(OWNERS)

    coordinator = machines["coordinator"].folder
    (run,) = (coordinator / "runs").iterdir()
    assert json.loads((run / "summary.json").read_text(encoding="utf-8"))["status"] == "completed"
    assert (run / "model.safetensors").stat().st_uid == coordinator.stat().st_uid
    texts = [one.text for seed in range(len(OWNERS)) for one in marked(160, seed=seed)]
    for file in filter(Path.is_file, coordinator.rglob("*")):
        assert not messages_found(file.read_bytes(), texts), file
    for owner in OWNERS:
        wait_until_well(f"fedsms-node-{owner}")  # as the engine tells it, of itself
        assert_confined(f"fedsms-node-{owner}")
        key = machines[owner].folder / "identity" / "key.pem"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        audit = machines[owner].folder / "audit"
        assert {path.name for path in audit.iterdir()} == KEPT
        assert {path.stat().st_uid for path in audit.iterdir()} == {key.stat().st_uid}


def assert_confined(name: str) -> None:
    host = inspect(name)["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == 2**30
    assert host["PidsLimit"] == 256
    written = {mount["Destination"] for mount in inspect(name)["Mounts"] if mount["RW"]}
    assert written == {"/audit"}


def test_the_coordinator_of_a_caller_who_is_root_needs_no_capability(
    built: None, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    flags = ("--rm", "--user", "0:0", "--cap-drop", "ALL", "-v", f"{tmp_path / 'runs'}:/runs")
    assert "fedsms" in docker("run", *flags, image("coordinator"), "--version").out
