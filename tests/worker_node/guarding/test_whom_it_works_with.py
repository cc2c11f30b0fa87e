"""Which coordinators a node lets in: the flag before the policy, the policy before the file, also
without TLS, where a name is only what somebody calls itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from scripts.local.nodes import local_nodes
from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from shared.errors import HandshakeRefused
from shared.wire.frames import Kind
from shared.wire.handshake import Greeting
from tests.conftest import OwnerFiles
from tests.helpers.identities import Federation, make_federation
from tests.helpers.peers import stranger
from tests.helpers.running import run as run_command
from tests.helpers.served_nodes import served_node
from worker_node.guarding.policy_file import POLICY
from worker_node.guarding.set_up import find_guarding

NAMES = ("by-flag", "by-policy", "by-file")


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    made = make_federation(tmp_path_factory.mktemp("federation"))
    for name in NAMES:
        made.coordinator(name)
    (made.node("bob") / "coordinators.txt").write_text("by-file\n", encoding="utf-8")
    return made


def let_in_with_tls(federation: Federation, url: str) -> list[str]:
    async def session(name: str) -> None:
        await (await dial(NodeAddress("bob", url), federation.coordinator(name))).close()

    found = []
    for name in NAMES:
        try:
            asyncio.run(session(name))
        except HandshakeRefused:
            continue
        found.append(name)
    return found


async def let_in(url: str, *names: str) -> list[str]:
    found = []
    for name in names:
        async with stranger(url) as peer:
            answer = await peer.greet(Greeting(role="coordinator", id=name))
        if answer.kind is Kind.HELLO:
            found.append(name)
    return found


@pytest.fixture
def policy(tmp_path: Path) -> tuple[str, str]:
    path = tmp_path / POLICY
    path.write_text('coordinators = ["by-policy"]\n', encoding="utf-8")
    return "--policy", str(path)


FLAG = ("--coordinator", "by-flag")


@pytest.mark.parametrize("first", NAMES)
def test_the_first_that_names_any_decides_alone(
    owners: list[OwnerFiles], federation: Federation, policy: tuple[str, str], first: str
) -> None:
    given = {"by-flag": (*policy, *FLAG), "by-policy": policy, "by-file": ()}[first]
    identity = ("--identity", str(federation.node("bob")))
    with local_nodes({"bob": (*owners[1].flags, *identity, *given)}) as (node,):
        assert let_in_with_tls(federation, node.url) == [first]


@pytest.mark.parametrize("flag", [(), FLAG])
def test_without_tls_a_name_keeps_out_whoever_has_another_and_nobody_who_lies(
    policy: tuple[str, str], flag: tuple[str, ...]
) -> None:
    """All three are one and the same stranger."""
    guarding = find_guarding(Path(policy[1]), None, None, "bob").working_with(flag[1:])

    async def session() -> list[str]:
        async with served_node(guarding.policy.model_dump()) as url:
            return await let_in(url, "a-test", "by-policy", "by-flag")

    found = asyncio.run(session())
    assert found == (["by-flag"] if flag else ["by-policy"])


def test_a_policy_is_also_named_by_the_environment(
    owners: list[OwnerFiles], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("fewest_row = 3\n", encoding="utf-8")
    flags = ("serve", "--id", "bob", "--port", 0, *owners[1].flags)
    done = run_command("worker_node", *flags, cwd=tmp_path, FEDSMS_POLICY=str(broken))
    assert done.code == 2
    assert "unknown key 'fewest_row'" in done.err
