"""An owner joins with one line, typed or given on standard input, while the coordinator listens."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.identity.invitation import parse_invitation
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


@pytest.mark.parametrize("end", ["revoked", "ended"])
def test_who_listens_until_all_have_joined_is_told_of_an_invitation_that_came_to_nothing(
    coordinator: Path, end: str
) -> None:
    place = f"127.0.0.1:{free_port()}"
    valid = "1" if end == "revoked" else str(4 / 86_400)
    done_well(invite(coordinator, "bob", "--at", place, "--valid", valid))
    listener = start("server", "listen", "--listen", place, "--until-joined", cwd=coordinator)
    assert listener.stderr is not None
    assert place in listener.stderr.readline()
    if end == "revoked":
        done_well(invite(coordinator, "bob", "--revoke"))
    words = ("bob did not join", f"the invitation of bob is {end}")
    refused(finish(listener), *words, code=4)


def test_the_line_of_an_address_in_brackets_is_one_word_to_a_shell(coordinator: Path) -> None:
    (line,) = done_well(invite(coordinator, "bob", "--at", "[::1]:8770")).splitlines()
    words = shlex.split(line)
    assert words[:-1] == ["python", "-m", "worker_node", "join"]
    assert parse_invitation(line) == parse_invitation(words[-1])
    assert parse_invitation(words[-1]).url == "wss://[::1]:8770"


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_nobody_is_invited_to_a_port_that_cannot_be(coordinator: Path, port: str) -> None:
    asked = invite(coordinator, "bob", "--at", f"host:{port}")
    refused(asked, "no place that an owner could dial", code=2)
    assert json.loads(done_well(invite(coordinator, "--list", "--json"))) == []


def test_an_invitation_that_is_made_while_a_run_waits_is_taken(
    coordinator: Path, bobs: Path
) -> None:
    """Nobody was invited when it began to listen."""
    place = f"127.0.0.1:{free_port()}"
    waits = start("server", "train", "--listen", place, "--node", "bob", cwd=coordinator)
    try:
        assert waits.stderr is not None
        while "listens at" not in (line := waits.stderr.readline()):
            assert line, "it ended"
        early = f"fedsms:bob@{place}/{'0' * 64}/{'a' * 11}.{'b' * 22}"
        joins = run("worker_node", "join", early, "--wait", "0", cwd=bobs)
        refused(joins, "nobody was invited here", code=4)
        (line,) = done_well(invite(coordinator, "bob", "--at", place)).splitlines()
        assert f"It dials wss://{place}" in done_well(
            run("worker_node", "join", line.rpartition(" ")[2], cwd=bobs)
        )
        while "has joined from 127.0.0.1" not in (line := waits.stderr.readline()):
            assert line, "it ended"
    finally:
        waits.kill()
        finish(waits)
