"""What lies between a node that dials and its coordinator: proxies, IPv6, lines that die."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scripts.local.faulty_line import line_to
from server.authority.invitations import Invitations
from server.nodes.addresses import NodeAddress
from server.nodes.link import Link
from server.nodes.port import Port, open_port
from server.nodes.reception import Reception
from shared.errors import NodeUnreachable
from shared.wire.timeouts import Timeouts
from tests.helpers.dialling_nodes import PATIENT, free_port, knocking_node
from tests.helpers.federating import until
from tests.helpers.http_proxy import http_proxy
from tests.helpers.identities import Federation, make_federation
from tests.helpers.needed import lacking
from tests.helpers.running import ROOT
from worker_node.membership.joining import join_by_invitation

pytestmark = pytest.mark.timeout(180)
SECURE = "wss://127.0.0.1:0"


@pytest.fixture
def ours(tmp_path: Path) -> Federation:
    made = make_federation(tmp_path / "ours")
    made.coordinator()
    return made


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


async def comes_in(port: Port) -> Link:
    link = await port.link(NodeAddress("bob", port.url, dials_in=True))
    assert await link.round_trip() > 0
    return link


def test_a_node_dials_and_joins_through_an_http_proxy_that_reads_nothing(
    ours: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    async def scene() -> None:
        taken = Invitations(ours.authority)
        opened = open_port(SECURE, {"bob"}, ours.coordinator(), PATIENT, reception=Reception(taken))
        async with http_proxy() as proxy, opened as port:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            place = port.url.removeprefix("wss://")
            invitation = taken.invite("bob", place, timedelta(days=1), days=30)
            await join_by_invitation(invitation, tmp_path / "bob")
            async with knocking_node(port.url, tmp_path / "bob"):
                link = await comes_in(port)
                await link.close()
            assert set(proxy.asked) == {place}
            assert len(proxy.asked) >= 3
            assert bytes(proxy.seen[:1]) == b"\x16"  # a TLS handshake, RFC 8446, 5.1
            for hidden in (invitation.secret, "HTTP/1.1 101", "BEGIN CERT"):
                assert hidden.encode() not in proxy.seen

    run(scene())


def test_a_proxy_that_forbids_is_told_as_such(
    ours: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    async def scene() -> None:
        async with http_proxy() as proxy:
            proxy.forbids = True
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            async with knocking_node("wss://127.0.0.1:9", ours.node("bob")) as line:
                await until(lambda: "status 403" in line.state, "the proxy's refusal")
        monkeypatch.setenv("HTTPS_PROXY", "gopher://nowhere")
        async with knocking_node("wss://127.0.0.1:9", ours.node("bob")) as line:
            await until(lambda: "the proxy of this machine" in line.state, "a word of it")

    run(scene())


def test_over_ipv6(ours: Federation) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        lacking("devices", "no IPv6 on this machine's loopback")

    async def scene() -> None:
        opened = open_port("wss://[::1]:0", {"bob"}, ours.coordinator(), PATIENT)
        async with opened as port, knocking_node(port.url, ours.node("bob")):
            assert port.url.startswith("wss://[::1]:")
            link = await comes_in(port)
            assert link.origin == "::1"
            await link.close()

    run(scene())


def test_a_line_that_dies_silently_is_dialled_anew_and_its_coordinator_takes_the_new_one(
    ours: Federation,
) -> None:
    """It swallows everything for a while; the coordinator has no heartbeat here."""
    noticing = Timeouts(heartbeat=1, handshake_timeout=60)

    async def scene() -> None:
        async with open_port(SECURE, {"bob"}, ours.coordinator(), PATIENT) as port:
            with line_to(port.url) as line:
                bob = ours.node("bob")
                async with knocking_node(line.url, bob, timeouts=noticing) as dialled:
                    before = await comes_in(port)
                    line.silent = True
                    await until(lambda: dialled.state != "connected", "the node's notice")
                    line.silent = False
                    after = await port.link(NodeAddress("bob", port.url, dials_in=True))
                    assert after is not before
                    assert isinstance(await before.loss, NodeUnreachable)
                    assert await after.round_trip() > 0
                    await after.close()

    run(scene())


def settings_of_the_page(kind: str, outside: int, inside: int) -> str:
    """Those of the page, with other places."""
    page = (ROOT / "docs" / "dialling-out.md").read_text(encoding="utf-8")
    found: str = re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)[0]
    found, at = re.subn(r"(listen |bind :)443", rf"\g<1>{outside}", found)
    found, behind = re.subn(r"10\.0\.0\.5:8770", f"127.0.0.1:{inside}", found)
    assert (at, behind) == (1, 1)
    return found.replace(f"bind :{outside}", f"bind 127.0.0.1:{outside}").replace(
        f"listen {outside}", f"listen 127.0.0.1:{outside}"
    )


def haproxy(folder: Path, outside: int, inside: int) -> subprocess.Popen[bytes]:
    if shutil.which("haproxy") is None:
        lacking("programs", "haproxy is not installed")
    settings = folder / "haproxy.cfg"
    settings.write_text(settings_of_the_page("haproxy", outside, inside))
    return subprocess.Popen(["haproxy", "-f", str(settings)], stderr=subprocess.DEVNULL)


STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def nginx(folder: Path, outside: int, inside: int) -> subprocess.Popen[bytes]:
    if shutil.which("nginx") is None or not STREAM.exists():
        lacking("programs", "nginx with its module stream is not installed")
    settings = folder / "nginx.conf"
    settings.write_text(
        f"load_module {STREAM};\ndaemon off;\npid {folder}/pid;\nerror_log {folder}/errors;\n"
        "events {}\n" + settings_of_the_page("nginx", outside, inside)
    )
    line = ["nginx", "-e", str(folder / "errors"), "-p", str(folder), "-c", str(settings)]
    return subprocess.Popen(line, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("program", [haproxy, nginx])
def test_behind_a_program_that_passes_tls_through(
    ours: Federation, tmp_path: Path, program: Callable[[Path, int, int], subprocess.Popen[bytes]]
) -> None:
    inside, outside = free_port(), free_port()
    process = program(tmp_path, outside, inside)

    async def scene() -> None:
        opened = open_port(f"wss://127.0.0.1:{inside}", {"bob"}, ours.coordinator(), PATIENT)
        async with opened as port, knocking_node(f"wss://127.0.0.1:{outside}", ours.node("bob")):
            link = await comes_in(port)
            assert await link.round_trip() > 0
            await link.close()

    try:
        run(scene())
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait()
