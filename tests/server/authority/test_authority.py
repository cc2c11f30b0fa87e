"""The authority's record and its list of revoked certificates: what was revoked stays revoked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from server.authority.enrolment import (
    OUR_NAMES,
    answer_path,
    bundle,
    check_own,
    make_own,
    read_request,
    spread_crl,
)
from server.authority.folder import Authority, make_authority, open_authority
from shared.errors import IdentityError
from shared.identity.certificates import (
    Name,
    certificates_from_pem,
    crl_from_pem,
    crl_number,
    key_fingerprint,
    key_from_pem,
    key_to_pem,
    name_of,
    new_request,
    to_pem,
)
from shared.locking import locked
from tests.helpers.made_certificates import BOB, DAY, HOSPITAL, NOW, new_ca, resigned

KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
ANNE = Name("node", "anne")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path / "authority")[0]


def revoked_serials(authority: Authority) -> set[int]:
    return {one.serial_number for one in crl_from_pem(authority.crl())}


def number(authority: Authority) -> int:
    return crl_number(crl_from_pem(authority.crl()))


def test_after_a_renewal_every_certificate_of_a_name_is_revoked(authority: Authority) -> None:
    issued = [authority.issue(BOB, KEYS[0].public_key(), days=30) for _ in range(3)]
    other = authority.issue(ANNE, KEYS[1].public_key(), days=30)
    told = authority.revoke("bob")
    assert {one.serial for one in told} == {one.serial for one in issued}
    assert revoked_serials(authority) == {int(one.serial, 16) for one in issued}
    states = {one.serial: one.state for one in authority.issued()}
    assert states.pop(other.serial) == "valid"
    assert set(states.values()) == {"revoked"}


DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["issue", "replace", "revoke"]), st.integers(0, 1), st.integers(0, 2)
    ),
    max_size=8,
)


@settings(max_examples=15)
@given(deeds=DEEDS)
def test_what_was_revoked_stays_revoked_whatever_is_issued_later(
    deeds: list[tuple[str, int, int]],
) -> None:
    """Against a plain account of who has which keys, and of what was taken back."""
    names = [BOB, ANNE]
    held: list[tuple[int, Name, int, bool]] = []  # serial, name, key, whether it was revoked
    with TemporaryDirectory() as folder:
        authority = make_authority(Path(folder) / "authority")[0]
        for deed, whose, key in deeds:
            name, before, list_before = names[whose], number(authority), revoked_serials(authority)
            of_name = [one for one in held if one[1] == name]
            if deed == "revoke":
                if of_name:
                    authority.revoke(name.id)
                else:
                    with pytest.raises(IdentityError, match="has no certificate"):
                        authority.revoke(name.id)
                held = [(s, n, k, was or n == name) for s, n, k, was in held]
            else:
                replace = deed == "replace"
                others = [one for one in of_name if one[2] != key and not one[3]]
                taken_back = any(one[2] == key and one[3] for one in of_name)
                if (taken_back or others) and not replace:
                    with pytest.raises(IdentityError):
                        authority.issue(name, KEYS[key].public_key(), 30, replace)
                else:
                    new = authority.issue(name, KEYS[key].public_key(), 30, replace)
                    held = [(s, n, k, was or (n == name and k != key)) for s, n, k, was in held]
                    held.append((int(new.serial, 16), name, key, False))
            now = revoked_serials(authority)
            assert now == {serial for serial, _, _, was in held if was}
            assert number(authority) > before if now != list_before else number(authority) == before
        assert [int(one.serial, 16) for one in authority.issued()] == [one[0] for one in held]


def test_a_key_that_was_revoked_is_certified_again_where_somebody_says_so_alone(
    authority: Authority,
) -> None:
    before = authority.issue(BOB, KEYS[0].public_key(), 30)
    authority.revoke("bob")
    with pytest.raises(IdentityError, match="was revoked"):
        authority.check_free(BOB, key_fingerprint(KEYS[0].public_key()), replace=False)
    with pytest.raises(IdentityError, match="was revoked"):
        authority.issue(BOB, KEYS[0].public_key(), 30)
    new = authority.issue(BOB, KEYS[0].public_key(), 30, replace=True)
    assert new.serial != before.serial
    assert revoked_serials(authority) == {int(before.serial, 16)}


def test_a_name_is_a_nodes_or_a_coordinators(authority: Authority) -> None:
    authority.issue(BOB, KEYS[0].public_key(), 30)
    for replace in (False, True):
        with pytest.raises(IdentityError, match="a node of this federation is called so"):
            authority.issue(Name("coordinator", "bob"), KEYS[1].public_key(), 30, replace)


def test_a_record_that_lost_a_revocation_is_not_written_over(authority: Authority) -> None:
    authority.issue(BOB, KEYS[0].public_key(), 30)
    older = (authority.folder / "issued.json").read_bytes()
    authority.revoke("bob")
    (authority.folder / "issued.json").write_bytes(older)
    before = authority.crl()
    with pytest.raises(IdentityError, match="it lacks certificates that"):
        authority.issue(ANNE, KEYS[1].public_key(), 30)
    assert authority.crl() == before


def test_another_cas_key_signs_nothing(authority: Authority) -> None:
    (authority.folder / "ca-key.pem").write_bytes(key_to_pem(KEYS[0]))
    with pytest.raises(IdentityError, match="not the key of the CA"):
        authority.issue(BOB, KEYS[1].public_key(), 30)
    assert authority.issued() == []


def test_a_ca_that_has_expired_signs_nothing(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "authority")[0]
    key = (authority.folder / "ca-key.pem").read_bytes()
    old = resigned(authority.ca, key_from_pem(key), since=NOW - 9 * DAY, until=NOW - DAY)
    (authority.folder / "ca.pem").write_bytes(to_pem(old))
    with pytest.raises(IdentityError, match="has expired"):
        open_authority(authority.folder).issue(BOB, KEYS[0].public_key(), 30)


def test_an_authority_is_made_once_and_its_key_is_its_owners_alone(tmp_path: Path) -> None:
    made, is_new = make_authority(tmp_path / "authority")
    again, is_new_again = make_authority(tmp_path / "authority")
    assert (is_new, is_new_again) == (True, False)
    assert made.ca == again.ca == open_authority(tmp_path / "authority").ca
    assert (tmp_path / "authority" / "ca-key.pem").stat().st_mode & 0o777 == 0o600
    made.issue(BOB, KEYS[0].public_key(), 30)
    assert (tmp_path / "authority" / "issued.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(IdentityError, match="there is no CA"):
        open_authority(tmp_path)


def test_a_state_is_revoked_before_it_is_expired_before_it_is_valid(authority: Authority) -> None:
    issued = authority.issue(BOB, KEYS[0].public_key(), 30)
    states = [
        issued.model_copy(update=changes).state
        for changes in (
            {},
            {"valid_until": NOW - DAY},
            {"revoked": NOW},
            {"revoked": NOW, "valid_until": NOW - DAY},
        )
    ]
    assert states == ["valid", "expired", "revoked", "revoked"]


def test_an_answer_has_the_newest_valid_certificate_of_each_coordinator(
    authority: Authority, tmp_path: Path
) -> None:
    clinic = Name("coordinator", "clinic")
    gone = Name("coordinator", "gone")
    make_own(authority, tmp_path / "hospital", HOSPITAL, 30)
    newest = make_own(authority, tmp_path / "hospital", HOSPITAL, 60)
    make_own(authority, tmp_path / "clinic", clinic, 30)
    make_own(authority, tmp_path / "gone", gone, 30)
    authority.revoke("gone")
    answer = bundle(authority, authority.issue(BOB, KEYS[0].public_key(), 30))
    found = certificates_from_pem(answer)
    assert [name_of(one) for one in found[:-1]] == [BOB, HOSPITAL, clinic]
    assert f"{found[1].serial_number:x}" == newest.serial
    assert found[-1] == authority.ca
    assert {one.serial_number for one in crl_from_pem(answer)} == revoked_serials(authority)


def test_a_list_is_spread_to_coordinators_of_this_federation_alone(
    authority: Authority, tmp_path: Path
) -> None:
    make_own(authority, tmp_path / "hospital", HOSPITAL, 30)
    other = make_authority(tmp_path / "other")[0]
    make_own(other, tmp_path / "clinic", HOSPITAL, 30)
    theirs = (tmp_path / "clinic" / "crl.pem").read_bytes()
    authority.issue(BOB, KEYS[0].public_key(), 30)
    authority.revoke("bob")
    assert spread_crl(authority, tmp_path / "hospital") is True
    assert (tmp_path / "hospital" / "crl.pem").read_bytes() == authority.crl()
    assert spread_crl(authority, tmp_path / "clinic") is False
    assert spread_crl(authority, tmp_path / "nowhere") is False
    assert (tmp_path / "clinic" / "crl.pem").read_bytes() == theirs


def test_a_coordinators_folder_is_its_own_and_of_this_federation(
    authority: Authority, tmp_path: Path
) -> None:
    make_own(authority, tmp_path / "hospital", HOSPITAL, 30)
    own = certificates_from_pem((tmp_path / "hospital" / "certificate.pem").read_bytes())[0]
    ca = authority.folder / "ca.pem"
    for name in ("hospital", None):
        assert check_own(tmp_path, own, name, ca) == HOSPITAL
    other = new_ca()
    for certificate, name, why in (
        (own, "clinic", "holds the identity of coordinator hospital"),
        (other.signs(HOSPITAL, KEYS[0].public_key()), None, "of another federation"),
        (other.signs(BOB, KEYS[0].public_key()), None, "holds the identity of node bob"),
    ):
        with pytest.raises(IdentityError, match=why):
            check_own(tmp_path, certificate, name, ca)


@pytest.mark.parametrize("name", [*sorted(OUR_NAMES), "CRL", "Ca-Key"])
def test_no_node_is_called_like_a_file_of_ours(name: str, tmp_path: Path) -> None:
    path = tmp_path / "request.csr"
    path.write_bytes(new_request(KEYS[0], Name("node", name)))
    with pytest.raises(IdentityError, match="a file of ours is called"):
        read_request(path)


@pytest.mark.parametrize(("size", "is_read"), [(64 * 1024, True), (64 * 1024 + 1, False)])
def test_a_request_is_read_up_to_a_bound(size: int, is_read: bool, tmp_path: Path) -> None:
    path = tmp_path / "request.csr"
    path.write_bytes(new_request(KEYS[0], BOB).ljust(size, b"\n"))
    if is_read:
        assert read_request(path)[0] == BOB
        return
    with pytest.raises(IdentityError, match="it is larger than"):
        read_request(path)


def test_a_request_is_a_nodes(tmp_path: Path) -> None:
    path = tmp_path / "request.csr"
    path.write_bytes(new_request(KEYS[0], HOSPITAL))
    with pytest.raises(IdentityError, match="owners ask for nodes"):
        read_request(path)


def test_an_answer_replaces_an_earlier_answer_to_the_same_node_alone(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bob.pem"
    assert answer_path(BOB) == Path("bob.pem")
    path.write_bytes(bundle(authority, authority.issue(BOB, KEYS[0].public_key(), 30)))
    assert answer_path(BOB) == Path("bob.pem")
    contents: list[Any] = [
        b"mine",
        to_pem(authority.ca),
        bundle(authority, authority.issue(ANNE, KEYS[1].public_key(), 30)),
    ]
    for data in contents:
        path.write_bytes(data)
        with pytest.raises(IdentityError, match="is there already, and is no answer to"):
            answer_path(BOB)


@pytest.mark.parametrize("text", ["", "[]", '{"certificates": [{}]}', '{"others": []}'])
def test_a_record_that_is_none_is_told(text: str, authority: Authority) -> None:
    (authority.folder / "issued.json").write_text(text, encoding="utf-8")
    with pytest.raises(IdentityError, match=r"issued.json is unfit"):
        authority.issued()


def test_who_waited_for_another_that_made_the_authority_takes_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, _ = make_authority(tmp_path / "others")
    real = locked

    @contextmanager
    def late(folder: Path, name: str) -> Iterator[None]:
        with real(folder, name):
            for name in ("ca-key.pem", "crl.pem", "ca.pem"):
                shutil.copy(others.folder / name, folder / name)
            yield

    monkeypatch.setattr("server.authority.folder.locked", late)
    made, is_new = make_authority(tmp_path / "authority")
    assert (made.ca, is_new) == (others.ca, False)


def test_another_key_takes_the_name_of_one_that_was_revoked(authority: Authority) -> None:
    authority.issue(BOB, KEYS[0].public_key(), days=30)
    with pytest.raises(IdentityError, match="admitted already with another key") as caught:
        authority.issue(BOB, KEYS[1].public_key(), days=30)
    assert "--replace revokes it" in caught.value.next_step
    (first,) = authority.revoke("bob")
    second = authority.issue(BOB, KEYS[1].public_key(), days=30)
    assert second.state == "valid"
    # what was revoked before keeps its day, also when the name is revoked again
    authority.revoke("bob")
    days = {one.serial: one.revoked for one in authority.issued()}
    assert days[first.serial] == first.revoked
    later = days[second.serial]
    assert later is not None
    assert first.revoked is not None
    assert later > first.revoked


def test_a_coordinator_of_another_key_is_told_to_take_its_own_folder(authority: Authority) -> None:
    authority.issue(HOSPITAL, KEYS[0].public_key(), days=30)
    with pytest.raises(IdentityError) as caught:
        authority.issue(HOSPITAL, KEYS[1].public_key(), days=30)
    assert "another --name" in caught.value.next_step
    assert "python -m server revoke hospital" in caught.value.next_step
    with pytest.raises(IdentityError, match="a coordinator of this federation is called so"):
        authority.issue(Name("node", "hospital"), KEYS[2].public_key(), days=30)
    authority.issue(BOB, KEYS[2].public_key(), days=30)
    with pytest.raises(IdentityError, match="a node of this federation is called so"):
        authority.issue(Name("coordinator", "bob"), KEYS[2].public_key(), days=30)


def test_what_is_told_of_a_certificate_is_json_without_the_certificate(
    authority: Authority,
) -> None:
    told = authority.issue(BOB, KEYS[0].public_key(), days=30).as_dict()
    assert "pem" not in told
    assert (told["id"], told["role"], told["state"], told["revoked"]) == (
        *("bob", "node", "valid"),
        None,
    )
    assert json.loads(json.dumps(told)) == told


def test_a_record_that_people_may_have_to_read_has_lines(authority: Authority) -> None:
    authority.issue(BOB, KEYS[0].public_key(), days=30)
    assert '\n      "id": "bob",\n' in (authority.folder / "issued.json").read_text()


def test_an_authority_is_made_with_the_folders_above_it(tmp_path: Path) -> None:
    made, is_new = make_authority(tmp_path / "new" / "authority")
    assert is_new
    assert open_authority(made.folder).ca == made.ca
    (made.folder / "ca.pem").write_text("no certificate")
    with pytest.raises(IdentityError, match=r"ca\.pem is unfit"):
        open_authority(made.folder)
