"""What `join` installs: each check is reached by an answer that is good but for one thing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import IdentityError
from shared.identity import folder as identity
from shared.identity.certificates import Name, to_pem
from tests.helpers.answers import CA, HOSPITALS, KEY, OTHER, Answer, folder_with_key, good, joins
from tests.helpers.made_certificates import BOB, DAY, HOSPITAL, NOW, resigned
from worker_node.membership.enrolment import join, make_request, read_coordinators


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_with_key(tmp_path / "bob")


def expired() -> Answer:
    return good(CA.signs(BOB, KEY.public_key(), since=NOW - 9 * DAY, until=NOW - DAY))


def not_yet() -> Answer:
    return good(CA.signs(BOB, KEY.public_key(), since=NOW + DAY))


def revoked() -> Answer:
    own = CA.signs(BOB, KEY.public_key())
    return replace(good(own), crl=CA.revokes(own))


def of_an_expired_ca() -> Answer:
    old = resigned(CA.certificate, CA.key, since=NOW - 9 * DAY, until=NOW - DAY)
    own = CA.signs(BOB, KEY.public_key(), until=NOW + DAY)
    crl = CA.revokes(until=NOW + DAY)
    return Answer(to_pem(own), to_pem(HOSPITALS), to_pem(old), crl)


WRONG: dict[str, tuple[Callable[[], Answer], str]] = {
    "expired": (expired, "has expired"),
    "not valid yet": (not_yet, "is not valid yet"),
    "revoked": (revoked, "its certificate was revoked on"),
    "of an expired CA": (of_an_expired_ca, "has expired"),
    "with another CA's list": (
        lambda: replace(good(), crl=OTHER.revokes()),
        "did not sign its list",
    ),
    "with a list that is over": (
        lambda: replace(good(), crl=CA.revokes(until=NOW - DAY)),
        "its list of revoked certificates ended at",
    ),
    "without a list": (lambda: replace(good(), crl=b""), "no list of revoked certificates"),
    "of another CA": (lambda: good(OTHER.signs(BOB, KEY.public_key())), "not signed by the CA"),
    "with another CA's coordinator": (
        lambda: replace(good(), coordinators=to_pem(OTHER.signs(HOSPITAL, KEY.public_key()))),
        "not signed by the CA",
    ),
    "for another key": (
        lambda: good(CA.signs(BOB, ec.generate_private_key(ec.SECP256R1()).public_key())),
        "it was not made for the key in",
    ),
    "of two nodes": (
        lambda: replace(good(), own=good().own + to_pem(CA.signs(BOB, KEY.public_key()))),
        "2 nodes' certificates and 1 CAs'",
    ),
    "of no node": (lambda: replace(good(), own=b""), "0 nodes' certificates and 1 CAs'"),
    "of two CAs": (
        lambda: replace(good(), ca=good().ca + to_pem(OTHER.certificate)),
        "1 nodes' certificates and 2 CAs'",
    ),
    "without a CA": (lambda: replace(good(), ca=b""), "1 nodes' certificates and 0 CAs'"),
    "of nobody": (
        lambda: good(CA.signs(BOB, KEY.public_key(), alternative=None)),
        "it names no node and no coordinator",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_answer_with_one_thing_wrong_installs_nothing(name: str, folder: Path) -> None:
    make, why = WRONG[name]
    before = sorted(folder.iterdir())
    with pytest.raises(IdentityError, match=re.escape(why)):
        joins(folder, make())
    assert sorted(folder.iterdir()) == before


def test_a_good_answer_is_installed_and_serves(folder: Path) -> None:
    joins(folder, good())
    own = identity.load(folder, "node")
    assert (own.name, own.ca) == (BOB, CA.certificate)
    assert (folder / "coordinators.txt").read_text().splitlines()[1:] == ["hospital"]


@pytest.mark.parametrize("name", WRONG)
def test_a_node_that_has_joined_keeps_what_it_has(name: str, folder: Path) -> None:
    joins(folder, good())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(IdentityError):
        joins(folder, WRONG[name][0]())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_node_never_takes_the_answer_of_another_federation(folder: Path) -> None:
    joins(folder, good())
    other = Answer(
        to_pem(OTHER.signs(BOB, KEY.public_key())), b"", to_pem(OTHER.certificate), OTHER.revokes()
    )
    with pytest.raises(IdentityError, match="belongs to fedsms federation"):
        joins(folder, other)


def test_a_node_never_takes_the_answer_to_another_id(folder: Path) -> None:
    joins(folder, good())
    with pytest.raises(IdentityError, match="this folder is bob's"):
        joins(folder, good(CA.signs(Name("node", "anne"), KEY.public_key())))


def test_an_older_list_of_revoked_certificates_is_never_taken_for_a_newer(folder: Path) -> None:
    anne = CA.signs(Name("node", "anne"), KEY.public_key())
    joins(folder, replace(good(), crl=CA.revokes(anne, number=7)))
    joins(folder, replace(good(), crl=CA.revokes(anne, number=7)))
    with pytest.raises(IdentityError, match="is number 6"):
        joins(folder, replace(good(), crl=CA.revokes(number=6)))
    joins(folder, replace(good(), crl=CA.revokes(anne, number=8)))


def test_an_owners_own_list_of_coordinators_is_left_as_it_is(folder: Path) -> None:
    (folder / "coordinators.txt").write_text("# mine\nclinic  # the other\n\n", encoding="utf-8")
    path = folder.parent / "answer.pem"
    path.write_bytes(good().pem)
    joined = join(path, folder)
    assert (joined.coordinators, joined.not_listed) == (["clinic"], ["hospital"])
    assert (folder / "coordinators.txt").read_text().startswith("# mine")


def test_a_folder_whose_certificate_cannot_be_read_gets_no_request(folder: Path) -> None:
    (folder / "certificate.pem").write_bytes(b"no certificate")
    with pytest.raises(IdentityError, match="is unfit"):
        make_request(folder, "bob")


def test_a_folder_is_one_nodes_by_its_requests_and_its_certificate(folder: Path) -> None:
    make_request(folder, "bob")
    make_request(folder, "bob")
    with pytest.raises(IdentityError, match="is the identity folder of bob"):
        make_request(folder, "anne")
    joins(folder, good())
    (folder / "bob.csr").unlink()
    with pytest.raises(IdentityError, match="is the identity folder of bob"):
        make_request(folder, "anne")


@pytest.mark.parametrize(("size", "is_read"), [(65 * 2**20, True), (65 * 2**20 + 1, False)])
def test_an_answer_is_read_up_to_a_bound(size: int, is_read: bool, folder: Path) -> None:
    path = folder.parent / "answer.pem"
    path.write_bytes(good().pem.ljust(size, b"\n"))
    if is_read:
        assert join(path, folder).name == BOB
        return
    with pytest.raises(IdentityError, match="it is larger than"):
        join(path, folder)


@pytest.mark.parametrize("line", ["two names", "-bob", "a" * 65, "b\u00f6b"])
def test_a_line_that_is_no_coordinators_name_is_told(line: str, folder: Path) -> None:
    (folder / "coordinators.txt").write_text(f"# names\nclinic\n{line}\n", encoding="utf-8")
    with pytest.raises(IdentityError, match="line 3 is no coordinator's name"):
        read_coordinators(folder)


def test_no_list_of_coordinators_names_nobody(folder: Path) -> None:
    assert read_coordinators(folder) == []
