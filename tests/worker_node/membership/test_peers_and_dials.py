"""peers.toml and dial.txt as files: what is read, what is refused, and what is written."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from shared.errors import IdentityError, UsageError
from shared.identity.certificates import key_fingerprint
from shared.identity.folder import read_key
from tests.helpers.identities import make_federation
from worker_node.membership.dials import read_dials, write_dials
from worker_node.membership.peers import (
    add_peer,
    fingerprint_from,
    pinned,
    read_peers,
    remove_peer,
)

ONE, OTHER = ":".join(["ab"] * 32), ":".join(["0f"] * 32)


def written(folder: Path, text: str) -> Path:
    (folder / "peers.toml").write_text(text, encoding="utf-8")
    return folder


def test_without_a_file_nobody_is_pinned(tmp_path: Path) -> None:
    assert read_peers(tmp_path) == {}
    assert read_peers(written(tmp_path, "")) == {}
    assert read_peers(written(tmp_path, "[peers]\n")) == {}
    assert pinned(tmp_path, (), "rule") == {}


def test_fingerprints_are_read_in_small_letters(tmp_path: Path) -> None:
    text = f'[peers]\nanne = "{ONE.upper()}"\n"b.c" = "{OTHER}"\n'
    assert read_peers(written(tmp_path, text)) == {"anne": ONE, "b.c": OTHER}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("peers = 1\n", "is no list of peers"),
        (f'[peers]\nanne = "{ONE}"\n[more]\n', "is no list of peers"),
        (f'anne = "{ONE}"\n', "is no list of peers"),
        ("[peers]\nanne = 1\n", "has no fingerprint for anne"),
        (f'[peers]\nanne = "{ONE[:-1]}"\n', "has no fingerprint for anne"),
        (f'[peers]\nanne = "{ONE}:00"\n', "has no fingerprint for anne"),
        (f'[peers]\nanne = " {ONE}"\n', "has no fingerprint for anne"),
        (f'[peers]\nanne = "{ONE.replace(":", "")}"\n', "has no fingerprint for anne"),
        (f'[peers]\nanne = "{ONE.replace("a", "g")}"\n', "has no fingerprint for anne"),
        (f'[peers]\n"no name" = "{ONE}"\n', "names 'no name'"),
    ],
)
def test_a_file_that_is_no_list_of_peers_is_said_to_be_none(
    tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        read_peers(written(tmp_path, text))
    assert "worker_node peers add" in caught.value.next_step
    with pytest.raises(UsageError, match=why):
        add_peer(tmp_path, "carol", OTHER)
    assert (tmp_path / "peers.toml").read_text() == text


def test_who_is_added_stands_there_and_the_one_before_is_told(tmp_path: Path) -> None:
    assert add_peer(tmp_path, "bob", OTHER) is None
    assert add_peer(tmp_path, "anne", ONE) is None
    assert add_peer(tmp_path, "anne", ONE) is None
    assert add_peer(tmp_path, "anne", OTHER) == ONE
    assert read_peers(tmp_path) == {"anne": OTHER, "bob": OTHER}
    text = (tmp_path / "peers.toml").read_text()
    assert tomllib.loads(text) == {"peers": {"anne": OTHER, "bob": OTHER}}
    assert text.startswith("# Owners of this federation")
    assert text.index("anne") < text.index("bob")
    remove_peer(tmp_path, "anne")
    assert read_peers(tmp_path) == {"bob": OTHER}
    with pytest.raises(UsageError, match="anne is not in") as caught:
        remove_peer(tmp_path, "anne")
    assert caught.value.cause == "it has bob"
    remove_peer(tmp_path, "bob")
    with pytest.raises(UsageError) as caught:
        remove_peer(tmp_path, "bob")
    assert caught.value.cause == "it has nobody"


def test_whom_a_policy_pins_stands_there_and_others_are_left_out(tmp_path: Path) -> None:
    add_peer(tmp_path, "anne", ONE)
    add_peer(tmp_path, "bob", OTHER)
    assert pinned(tmp_path, ("bob",), "rule") == {"bob": OTHER}
    assert list(pinned(tmp_path, ("bob", "anne"), "rule")) == ["bob", "anne"]
    with pytest.raises(UsageError, match="pins carol, dora") as caught:
        pinned(tmp_path, ("dora", "anne", "carol"), "some.rule")
    assert "rule some.rule" in caught.value.cause
    assert "peers add carol FINGERPRINT" in caught.value.next_step


@pytest.mark.parametrize(
    "typed", [ONE, ONE.upper(), ONE.replace(":", ""), ONE.replace(":", " "), f" {ONE}\n"]
)
def test_a_fingerprint_may_be_typed_in_many_ways(typed: str) -> None:
    assert fingerprint_from(typed, "anne") == ONE


@pytest.mark.parametrize("typed", ["", ONE[:-1], ONE + "0", ONE.replace("a", "g"), "no-file"])
def test_what_is_neither_a_fingerprint_nor_a_file_is_refused(typed: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no fingerprint, and no file"):
        fingerprint_from(typed or str(tmp_path), "anne")


def test_a_fingerprint_is_read_of_that_nodes_certificate_alone(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    folder = federation.node("anne")
    source = str(folder / "certificate.pem")
    key = read_key(folder).public_key()
    assert fingerprint_from(source, "anne") == key_fingerprint(key)
    with pytest.raises(UsageError, match="holds no certificate of node bob"):
        fingerprint_from(source, "bob")
    coordinator = str(federation.coordinator("hospital") / "certificate.pem")
    with pytest.raises(UsageError, match="holds no certificate of node hospital"):
        fingerprint_from(coordinator, "hospital")
    several = tmp_path / "several.pem"
    text = b"".join(Path(one).read_bytes() for one in (coordinator, source))
    several.write_bytes(text)
    assert fingerprint_from(str(several), "anne") == key_fingerprint(key)


def test_addresses_are_read_a_line_each_and_words_after_a_hash_are_not(tmp_path: Path) -> None:
    assert read_dials(tmp_path) == []
    text = (
        "# all of it\n\n wss://a.example:8777 # the first\n#wss://b.example:1\nwss://c.example:2\n"
    )
    (tmp_path / "dial.txt").write_text(text)
    assert read_dials(tmp_path) == ["wss://a.example:8777", "wss://c.example:2"]


@pytest.mark.parametrize("line", ["nothing", "http://a.example:1", "wss://"])
def test_a_line_that_is_no_address_is_named(tmp_path: Path, line: str) -> None:
    text = f"wss://a.example:1\n\n{line}\n"
    (tmp_path / "dial.txt").write_text(text)
    for ask in (read_dials, lambda folder: write_dials(folder, ["wss://b.example:1"])):
        with pytest.raises(IdentityError) as caught:
            ask(tmp_path)
        assert "line 3: " in str(caught.value)
    assert (tmp_path / "dial.txt").read_text() == text


def test_addresses_are_added_once_behind_those_that_are_there(tmp_path: Path) -> None:
    added: list[Any] = ["wss://a.example:1", "wss://b.example:1"]
    write_dials(tmp_path, added)
    write_dials(tmp_path, ["wss://c.example:1", "wss://a.example:1"])
    assert read_dials(tmp_path) == [*added, "wss://c.example:1"]
    assert (tmp_path / "dial.txt").read_text() == (
        "# Coordinators that this node dials, an address a line.\n"
        "wss://a.example:1\nwss://b.example:1\nwss://c.example:1\n"
    )
