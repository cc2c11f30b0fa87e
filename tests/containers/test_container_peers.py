"""Who may speak to a node in its container, and what the two then say; with plain `docker run`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.containers import docker, image, inspect, wait_until_answering
from tests.helpers.messages import marked, messages_found, write_tsv
from tests.helpers.running import finish, start

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


class Bench:
    """Containers, volumes and a network of one test."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.label = f"fedsms-tests={name}"
        docker("network", "create", "--internal", "--label", self.label, name)

    def volume(self, name: str) -> str:
        full = f"{self.name}-{name}"
        docker("volume", "create", "--label", self.label, full)
        return full

    def certificates(self, federation: str) -> None:
        """A whole federation of its own: volumes FEDERATION-coordinator and FEDERATION-bob."""
        flags = ["-v", f"{self.volume(f'{federation}-ca')}:/authority"]
        for who in ("coordinator", "bob"):
            flags += ["-v", f"{self.volume(f'{federation}-{who}')}:/identities/{who}"]
        script = ["/fedsms/scripts/compose/certificates.py", "--owner=bob=/identities/bob"]
        script += ["--authority=/authority", "--identity=/identities/coordinator"]
        confined = ["--network=none", "--cap-drop=ALL", "--cap-add=CHOWN", "--cap-add=DAC_OVERRIDE"]
        docker("run", "--rm", "--user=0", *confined, *flags, image("setup"), *script)

    def node(self, data: Path, *flags: str) -> str:
        """Starts bob's node and waits until it is well; gives the container's name."""
        name = f"{self.name}-bob{len(self._containers())}"
        line = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--label", self.label]
        mounts = ["-v", f"{data}:/data:ro", "-v", f"{self.volume('audit')}:/audit"]
        docker(
            "run",
            "-d",
            "--name",
            name,
            *line,
            *mounts,
            "-e",
            "FEDSMS_ID=bob",
            *flags,
            image("node"),
        )
        wait_until_answering(name)
        return name

    def _containers(self) -> list[str]:
        return docker("ps", "-aq", "-f", f"label={self.label}").out.split()

    def clean_up(self) -> None:
        if containers := self._containers():
            docker("rm", "-f", "-v", *containers, check=False)
        if volumes := docker("volume", "ls", "-q", "-f", f"label={self.label}").out.split():
            docker("volume", "rm", "-f", *volumes, check=False)
        docker("network", "rm", self.name, check=False)


@pytest.fixture
def bench(built: None, request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(f"fedsms-peers-{os.getpid()}")
    try:
        yield made
    finally:
        made.clean_up()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An owner's folder, as it is mounted into the node's container."""
    folder = tmp_path / "messages-of-bob"
    folder.mkdir()
    write_tsv(folder / "messages.tsv", marked(200))
    return folder


def test_only_certificates_of_one_federation_work_together(bench: Bench, data: Path) -> None:
    bench.certificates("ours")
    bench.certificates("others")
    identity = f"{bench.name}-ours-bob:/identity:ro"
    node = bench.node(data, "-v", identity, "--network", bench.name, "--network-alias", "bob")

    def ask(federation: str) -> tuple[int, str]:
        mount = f"{bench.name}-{federation}-coordinator:/identity:ro"
        # as root without capabilities, for the volume belongs to the owner of the setup's /runs
        owner = ["--network", bench.name, "--user", "10001", "-v", mount]
        told = docker(
            "run",
            "--rm",
            *owner,
            image("coordinator"),
            "status",
            "--node",
            "bob=wss://bob:8777",
            check=False,
        )
        return told.code, told.err

    assert ask("ours") == (0, "")
    code, why = ask("others")
    assert code == 5
    assert "federation" in why
    said = docker("logs", node)
    assert "Traceback" not in said.out + said.err


class Recorder:
    """A TCP proxy in front of a node; keeps what the node sends, which is in clear without TLS."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.from_node = bytearray()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        node_reader, node_writer = await asyncio.open_connection(*self._target)
        await asyncio.gather(
            self._pass_on(reader, node_writer, bytearray()),
            self._pass_on(node_reader, writer, self.from_node),
        )

    async def _pass_on(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, kept: bytearray
    ) -> None:
        while data := await source.read(2**16):
            kept += data
            target.write(data)
            await target.drain()
        target.close()


def test_no_message_is_in_what_crosses_from_a_nodes_container(
    bench: Bench, data: Path, tmp_path: Path
) -> None:
    flags = ("--network", bench.name, "-e", "FEDSMS_INSECURE=1")
    networks = inspect(bench.node(data, *flags))["NetworkSettings"]["Networks"]
    recorder = Recorder(networks[bench.name]["IPAddress"], 8777)

    async def train_through_it() -> None:
        async with await asyncio.start_server(recorder.handle, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            node = f"bob=ws://127.0.0.1:{port}"
            for command in (("status",), ("train", "--recipe", "tutorial", "--rounds", "3")):
                process = start("server", *command, "--node", node, cwd=tmp_path)
                done = await asyncio.to_thread(finish, process)
                assert done.code == 0, done.err

    asyncio.run(train_through_it())
    # what was kept is what crossed, in clear: three rounds of changed weights, names of things
    assert len(recorder.from_node) > 100_000
    assert b"held_out" in recorder.from_node
    texts = [one.text for one in marked(200)]
    assert messages_found(bytes(recorder.from_node), texts) == []
    assert messages_found((data / "messages.tsv").read_bytes(), texts) != []
