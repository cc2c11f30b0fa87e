"""Node: an owner's node in a program, over real sockets."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server import Federation
from shared.errors import DataError, IdentityError, NodeFailed, PolicyRefused, UsageError
from tests.helpers.identities import make_federation
from tests.helpers.messages import made_up, write_tsv
from tests.helpers.running import environment, finish, is_alive, until
from worker_node import Node

pytestmark = pytest.mark.timeout(120)


def rows(count: int = 60, seed: int = 0) -> list[tuple[str, str]]:
    return [(("ham", "spam")[one.label], one.text) for one in made_up(count, seed=seed)]


def test_a_whole_federation_fits_in_one_block(tmp_path: Path, quick: Path) -> None:
    with Node("bob", rows(seed=1)) as bob, Node("anne", rows(90, seed=2)) as anne:
        federation = Federation(nodes=[bob, anne], run_dir=tmp_path)
        told = {one["node"]: one["rows"] for one in federation.status().records()}
        for node in (bob, anne):
            shard = node.shard
            assert told[node.id] == {"train": len(shard.train), "held_out": len(shard.held_out)}
            assert node.address.startswith("ws://127.0.0.1:")
        run = federation.train(quick)
    assert run.status == "completed"
    assert set(run.rounds[-1].by_owner) == {"anne", "bob"}
    assert any("ready" in line or "policy" in line for line in bob.log)


def test_it_holds_a_file_or_rows_and_a_share_rows_or_a_file_held_out(tmp_path: Path) -> None:
    path = write_tsv(tmp_path / "messages.tsv", made_up(50))
    other = write_tsv(tmp_path / "other.tsv", made_up(10, seed=9))
    split = Node("bob", data=path).shard
    assert Node("bob", rows(50)).shard == split.__class__(split.train, split.held_out)
    assert Node("bob", np.array(rows(50))).shard == Node("bob", iter(rows(50))).shard
    assert len(Node("bob", data=str(path), held_out=0).shard.train) == 50
    for held_out in (other, str(other), rows(10, seed=9)):
        for node in (
            Node("bob", data=path, held_out=held_out),
            Node("bob", rows(50), held_out=held_out),
        ):
            assert (len(node.shard.train), len(node.shard.held_out)) == (50, 10)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, UsageError, "messages or data"),
        ({"messages": rows(), "data": "x.tsv"}, UsageError, "messages or data"),
        ({"messages": [("spam", "a"), ("eggs", "secret")]}, DataError, "row 2 cannot be used"),
        ({"messages": [("spam", "")]}, DataError, "the text is empty"),
        ({"messages": ["spam secret"]}, DataError, "row 1 is no pair"),
        ({"messages": ["ab"]}, DataError, "row 1 is no pair"),
        ({"messages": [1]}, DataError, "row 1 is no pair"),
        ({"messages": [({"spam"}, "secret")]}, DataError, "neither ham nor spam"),
        ({"messages": []}, DataError, "no message"),
        ({"messages": [("ham", "a"), ("ham", "b")]}, DataError, "no spam to train on"),
        ({"messages": rows(), "held_out": 1.0}, UsageError, "held-out fraction"),
        ({"messages": rows(), "host": "0.0.0.0"}, UsageError, "without TLS"),
        ({"messages": rows(), "policy": {"mode": []}}, UsageError, "did you mean 'modes'"),
        ({"messages": rows(), "policy": "none.toml"}, UsageError, "none.toml"),
        ({"messages": rows(), "identity": "nowhere"}, IdentityError, "nowhere"),
        ({"data": "none.tsv"}, DataError, "none.tsv"),
    ],
)
def test_what_cannot_be_is_one_clear_error_that_shows_no_text(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        Node("bob", **arguments)
    assert "secret" not in str(caught.value)


def test_its_policy_is_the_owners(tmp_path: Path, quick: Path) -> None:
    bob = Node("bob", rows(), policy={"fewest_rows": 1000})
    with bob, pytest.raises(PolicyRefused, match="fewest_rows"):
        Federation(nodes=[bob], run_dir=tmp_path, quorum_wait=0.1).train(quick)


def test_it_proves_itself_where_it_has_an_identity(tmp_path: Path, quick: Path) -> None:
    there = make_federation(tmp_path)
    log = tmp_path / "bob.jsonl"
    with Node(
        messages=rows(), identity=there.node("bob"), coordinators=["coordinator"], audit_log=log
    ) as bob:
        assert bob.id == "bob"
        assert bob.address.startswith("wss://")
        federation = Federation(
            nodes=[bob], identity=there.coordinator(), run_dir=tmp_path / "runs"
        )
        assert federation.train(quick, rounds=1).status == "completed"
    assert '"train"' in log.read_text(encoding="utf-8")
    with pytest.raises(IdentityError, match="is not carol's"):
        Node("carol", rows(), identity=there.node("bob"))


def test_a_port_that_is_taken_is_an_error_where_the_address_is_asked_for() -> None:
    with Node("bob", rows()) as bob:
        port = int(bob.address.rpartition(":")[2])
        with Node("anne", rows(), port=port) as anne, pytest.raises(UsageError, match=str(port)):
            assert anne.address
    with pytest.raises(UsageError, match="has not started"):
        assert bob.address


def test_serve_forever_ends_when_another_thread_stops_it_and_says_so_when_it_dies() -> None:
    bob = Node("bob", rows())
    serving = threading.Thread(target=bob.serve_forever)
    serving.start()
    until(lambda: bob._process is not None, "the process")
    assert bob.address
    bob.stop()
    serving.join(30)
    assert not serving.is_alive()
    anne = Node("anne", rows()).start()
    assert anne.address
    assert anne._process is not None
    anne._process.kill()
    with pytest.raises(NodeFailed, match="ended with code -9"):
        anne.serve_forever()


SCRIPT = """
from worker_node import Node
rows = [("spam", f"win {{n}} prizes") for n in range(20)]
rows += [("ham", f"see you at {{n}}") for n in range(20)]
node = Node("bob", rows)
node.start()
print(node._process.pid, node.address, flush=True)
{rest}
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_node_ends_with_its_program_however_that_ends(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(rest="node.serve_forever()")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(),
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline().split()[0])
    assert is_alive(pid)
    process.send_signal(number)
    done = finish(process)
    assert done.code == -number
    assert ("KeyboardInterrupt" in done.err) is (number is signal.SIGINT)
    until(lambda: not is_alive(pid), "the end of the node")
    assert list(tmp_path.iterdir()) == []  # no message, and no log of it, on a disk
