"""An owner joins with one line, typed or given on standard input, while the coordinator listens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.dialling_nodes import free_port
from tests.helpers.running import Finished, done_well, finish, refused, run, start

Cli = Callable[..., Finished]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def coordinator(tmp_path: Path) -> Path:
    """The folder of a coordinator's owner, who has made a federation."""
    folder = tmp_path / "coordinator"
    folder.mkdir()
    done_well(run("server", "init", cwd=folder))
    return folder


@pytest.fixture
def bobs(tmp_path: Path) -> Path:
    folder = tmp_path / "bob"
    folder.mkdir()
    return folder


def invite(coordinator: Path, *flags: str) -> Finished:
    return run("server", "invite", *flags, cwd=coordinator)


@pytest.mark.parametrize("typed", [True, False])
def test_one_line_makes_a_node_a_member(coordinator: Path, bobs: Path, typed: bool) -> None:
    place = f"127.0.0.1:{free_port()}"
    asked = invite(coordinator, "bob", "--at", place)
    (line,) = done_well(asked).splitlines()
    assert line.startswith("python -m worker_node join fedsms:bob@")
    invitation = line.rpartition(" ")[2]
    listening = ("listen", "--listen", place, "--until-joined")
    listener = start("server", *listening, cwd=coordinator)
    assert listener.stderr is not None
    assert place in listener.stderr.readline()
    argument, given = (invitation, "") if typed else ("-", invitation + "\n")
    joined = run("worker_node", "join", argument, cwd=bobs, stdin=given)
    assert f"It dials wss://{place}" in done_well(joined)
    ended = finish(listener)
    assert "node bob has joined from 127.0.0.1" in done_well(ended)
    secret = invitation.rpartition(".")[2]
    assert secret not in ended.out + ended.err + joined.out + joined.err
    assert (bobs / "identity" / "dial.txt").read_text().splitlines()[-1] == f"wss://{place}"
    told = json.loads(done_well(invite(coordinator, "--list", "--json")))
    assert [(one["node"], one["state"], one["origin"]) for one in told] == [
        ("bob", "joined", "127.0.0.1")
    ]
    assert secret not in json.dumps(told)
    assert "bob" in done_well(invite(coordinator, "--list"))


def test_what_goes_wrong_is_one_clear_error(coordinator: Path, bobs: Path) -> None:
    place = f"127.0.0.1:{free_port()}"
    line = done_well(invite(coordinator, "bob", "--at", place)).split()[-1]
    refused(
        run("worker_node", "join", line, "--wait", "0", cwd=bobs),
        *("cannot join at", "Connection refused", "python -m server listen"),
        code=4,
    )
    refused(run("worker_node", "join", line[:-3], cwd=bobs), "no whole invitation", code=2)
    refused(run("worker_node", "join", "-", cwd=bobs), "no whole invitation", code=2)
    refused(invite(coordinator), "nobody is named", code=2)
    refused(invite(coordinator, "bob", "--at", "no place"), "no place", code=2)
    refused(invite(coordinator, "ca"), "no node may be")
    assert "works no more" in done_well(invite(coordinator, "bob", "--revoke"))
    refused(invite(coordinator, "bob", "--revoke"), "no open invitation", code=2)
    assert not (bobs / "identity" / "certificate.pem").exists()
