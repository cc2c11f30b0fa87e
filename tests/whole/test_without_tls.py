"""Beyond this machine neither side does without TLS, unless it is told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.local.nodes import LocalNode, local_nodes
from tests.helpers.messages import made_up, write_tsv
from tests.helpers.running import Finished, answers, refused

Cli = Callable[..., Finished]
pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize("command", ["train", "status"])
def test_tls_without_an_identity_ends_with_8_and_says_how_to_make_one(
    cli: Cli, bob: LocalNode, command: str
) -> None:
    done = cli("server", command, "--node", bob.flag.replace("ws://", "wss://"))
    assert done.code == 8
    assert "python -m server init --identity identity" in done.err


@pytest.mark.parametrize("host", ["10.0.0.7", "bob.example", "127.evil.example", "[2001:db8::1]"])
def test_another_machine_without_tls_ends_with_2_and_says_what_to_write(
    cli: Cli, host: str
) -> None:
    done = cli("server", "train", "--node", f"bob=ws://{host}:8777")
    refused(done, "without TLS", f"wss://{host}:8777", "--insecure", code=2)


def test_another_machine_without_tls_is_dialled_where_the_user_says_so(
    cli: Cli, tmp_path: Path
) -> None:
    nodes = "[nodes]\nbob = 'ws://no-such-host.invalid:8777'\n"
    (tmp_path / "federation.toml").write_text(f"insecure = true\n{nodes}", encoding="utf-8")
    done = cli("server", "train")
    refused(done, "warning: bob at ws://", "can read the models", "name is not known", code=4)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "127.evil.example"])
def test_a_node_beyond_this_machine_without_tls_ends_with_2(
    cli: Cli, tmp_path: Path, host: str
) -> None:
    write_tsv(tmp_path / "good.tsv", made_up(20))
    arguments = ["--id", "bob", "--data", "good.tsv", "--port", "0", "--host", host]
    refused(
        cli("worker_node", "serve", *arguments), "without TLS", "init --id", "--insecure", code=2
    )


def test_a_node_beyond_this_machine_serves_without_tls_where_its_owner_says_so_and_warns(
    tmp_path: Path,
) -> None:
    path = write_tsv(tmp_path / "good.tsv", made_up(20))
    flags = ("--data", str(path), "--host", "0.0.0.0", "--insecure")
    with local_nodes({"zoe": flags}) as (zoe,):
        assert answers("zoe", zoe.url)
    assert any("is not encrypted" in line for line in zoe.log)
