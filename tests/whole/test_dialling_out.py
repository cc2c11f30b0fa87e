"""Nodes that dial out and commands that listen, as users start them: processes, sockets, TLS."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.local.nodes import LocalNode, local_nodes
from tests.conftest import OwnerFiles
from tests.helpers.dialling_nodes import free_port
from tests.helpers.identities import Federation, make_federation
from tests.helpers.pointers import write_recipe
from tests.helpers.running import Finished, refused, run, until

Cli = Callable[..., Finished]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    made = make_federation(tmp_path_factory.mktemp("ours"))
    made.coordinator()
    return made


@pytest.fixture(scope="module")
def place() -> str:
    """Where the coordinator listens."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def dialling(ours: Federation, owners: list[OwnerFiles], place: str) -> Iterator[list[LocalNode]]:
    """Anne's and bob's nodes, which dial out and listen nowhere."""
    flags = {
        one.id: (*one.flags, "--identity", str(ours.node(one.id)), "--dial", f"wss://{place}")
        for one in owners
    }
    with local_nodes(flags) as running:
        yield running


def digest(done: Finished) -> tuple[Path, str]:
    assert done.code == 0, done.err
    folder = Path(json.loads(done.out.splitlines()[-1])["run"])
    return folder, hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_a_run_with_nodes_that_dial_in_ends_with_the_weights_of_one_that_dials_them(
    cli: Cli,
    ours: Federation,
    dialling: list[LocalNode],
    nodes: list[LocalNode],
    node_flags: list[str],
    place: str,
    quick: Path,
) -> None:
    assert [node.url for node in dialling] == ["", ""]
    own = ("--identity", ours.coordinator())
    train = ("server", "train", "--json", "--recipe", quick)
    waits = ("--listen", place, "--node", "anne", "--node", "bob")
    folder, dialled_in = digest(cli(*train, *own, *waits))
    _, dialled = digest(cli(*train, *node_flags))
    assert dialled_in == dialled
    told = json.loads((folder / "settings.json").read_text())["nodes"]
    assert all(one["dials_in"] and one["certificate"] for one in told.values())
    # again, as soon as they have dialled again; bob is dialled now, in the same run
    mixed = ("--listen", place, "--node", "anne", "--node", nodes[1].flag)
    assert digest(cli(*train, *own, *mixed))[1] == dialled

    status = cli("server", "status", "--json", *own, *waits)
    assert status.code == 0, status.err
    assert [one["origin"] for one in json.loads(status.out)] == ["127.0.0.1"] * 2
    assert cli("server", "evaluate", *own, *waits, "--model", folder).code == 0


def test_a_run_goes_on_where_its_nodes_dialled_in(
    cli: Cli, ours: Federation, dialling: list[LocalNode], place: str, quick: Path
) -> None:
    own = ("--identity", ours.coordinator())
    waits = ("--listen", place, "--node", "anne", "--node", "bob")
    train = ("server", "train", "--json", "--recipe", quick)
    folder, whole = digest(cli(*train, *own, *waits))
    settings = json.loads((folder / "settings.json").read_text())
    settings["recipe"]["federation"]["rounds"] = 3
    (folder / "settings.json").write_text(json.dumps(settings))
    resumed, longer = digest(cli("server", "train", "--resume", folder, *own, "--json"))
    assert resumed == folder
    assert longer != whole
    assert len(dialling) == 2


def test_pointers_work_over_a_line_that_the_node_opened(
    cli: Cli, ours: Federation, owners: list[OwnerFiles], tmp_path: Path
) -> None:
    own, place = ("--identity", ours.coordinator("points")), f"127.0.0.1:{free_port()}"
    flags = {
        f"{one.id}-points": (
            *(*one.flags, "--allow", "pointers", "--coordinator", "points"),
            *("--identity", str(ours.node(f"{one.id}-points")), "--dial", f"wss://{place}"),
        )
        for one in owners
    }
    with local_nodes(flags):
        waits = ("--listen", place, *(f"--node={node}" for node in flags))
        recipe = write_recipe(tmp_path)
        train = ("server", "train", "--mode", "pointers", "--recipe", recipe, "--json")
        folder, _ = digest(cli(*train, *own, *waits))
    assert json.loads((folder / "settings.json").read_text())["mode"] == "pointers"


def test_the_nodes_log_says_once_that_nobody_is_there(dialling: list[LocalNode]) -> None:
    for node in dialling:
        until(lambda: any("It is dialled again" in line for line in node.log), "a word of it")  # noqa: B023
        assert not any("Traceback" in line for line in node.log)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--node", "bob"), ("does not say which node is where", "--listen")),
        (("--listen", "nowhere", "--node", "bob"), ("a coordinator that listens",)),
        (("--listen", "ws://0.0.0.0:1", "--node", "bob"), ("without TLS", "wss://")),
        (("--listen", "127.0.0.1:1", "--node", "bob", "--node", "bob"), ("given twice",)),
    ],
)
def test_what_cannot_be_listened_for_is_one_clear_error(
    cli: Cli, flags: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(cli("server", "status", *flags), *words, code=2)


def test_a_coordinator_whose_certificate_is_only_for_dialling_says_how_to_renew(
    cli: Cli, tmp_path: Path
) -> None:
    own = make_federation(tmp_path / "older")
    folder = own.make_older(own.coordinator())
    done = cli("server", "status", "--listen", "127.0.0.1:0", "--node", "bob", "--identity", folder)
    refused(done, "older version", "python -m server renew", code=8)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--dial", "wss://127.0.0.1:1"), ("no identity", "python -m worker_node init")),
        (("--dial", "ws://10.0.0.5:8770"), ("without TLS", "wss://10.0.0.5:8770")),
        (("--dial", "somewhere"), ("is not the address",)),
        (("--dial", "wss://me:secret@127.0.0.1:1"), ("a password",)),
    ],
)
def test_what_cannot_be_dialled_is_one_clear_error(
    tmp_path: Path, owners: list[OwnerFiles], flags: tuple[str, ...], words: tuple[str, ...]
) -> None:
    serve = ("serve", "--id", "bob", *owners[1].flags, "--audit-log", "off")
    refused(run("worker_node", *serve, *flags, cwd=tmp_path), *words, code=2)


def test_a_node_with_an_identity_dials_nobody_without_tls(
    tmp_path: Path, owners: list[OwnerFiles], ours: Federation
) -> None:
    identity = ("--identity", ours.node("bob"))
    serve = ("serve", *owners[1].flags, *identity, "--dial", "ws://127.0.0.1:1")
    refused(run("worker_node", *serve, cwd=tmp_path), "wss://127.0.0.1:1", "--insecure", code=2)
