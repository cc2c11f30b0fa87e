"""What is broken, missing or old must never be read as a looser rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from server.authority.enrolment import bundle, make_own, read_request
from server.authority.folder import make_authority
from shared.errors import IdentityError, StorageError, UsageError
from shared.identity import folder as identity
from shared.identity.certificates import Name, Role, crl_from_pem, crl_number
from tests.helpers.identities import Federation
from tests.helpers.running import Finished, run
from worker_node.guarding.policy_file import POLICY, find_policy, read_policy
from worker_node.membership.enrolment import join, make_request

Cli = Callable[..., Finished]


def dangling(path: Path) -> None:
    path.symlink_to(path.with_name("gone"))


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def empty_folder(path: Path) -> None:
    path.mkdir()


BROKEN = [dangling, loop, empty_folder]


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("where", ["identity", "here"])
def test_a_policy_that_is_broken_is_an_error_and_not_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, broken: Callable[[Path], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "identity"
    folder.mkdir()
    broken((folder if where == "identity" else tmp_path) / POLICY)
    with pytest.raises(UsageError, match="cannot read the policy"):
        find_policy(None, folder)


def test_a_node_whose_policy_is_a_dangling_link_does_not_serve(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text("ham\thello\nspam\twin\n", encoding="utf-8")
    dangling(tmp_path / POLICY)
    serve = ("serve", "--id", "bob", "--data", "rows.tsv", "--port", "0")
    done = run("worker_node", *serve, cwd=tmp_path)
    assert done.code == 2
    assert "cannot read the policy policy.toml" in done.err
    assert "ready" not in done.out


def test_a_policy_whose_folder_cannot_be_looked_into_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "identity"
    folder.write_text("no folder", encoding="utf-8")
    with pytest.raises(StorageError, match="Not a directory"):
        find_policy(None, folder)


@pytest.mark.parametrize("moment", ["00:00", "09:30", "24:00"])
def test_hours_with_equal_ends_are_an_error_and_not_always(tmp_path: Path, moment: str) -> None:
    path = tmp_path / POLICY
    path.write_text(f'[hours]\nbegin = "{moment}"\nend = "{moment}"\n', encoding="utf-8")
    with pytest.raises(UsageError, match="which may mean never or always"):
        read_policy(path)


def test_an_older_answer_brings_no_older_list_of_revoked_certificates_back(tmp_path: Path) -> None:
    federation = Federation(tmp_path, make_authority(tmp_path / "authority")[0])
    authority = federation.authority
    federation.coordinator("hospital")
    folder = tmp_path / "bob"
    request, _ = make_request(folder, "bob")
    issued = authority.issue(*read_request(request), days=365)
    older = tmp_path / "older.pem"
    older.write_bytes(bundle(authority, issued))
    federation.coordinator("thief")
    authority.revoke("thief")
    newer = tmp_path / "newer.pem"
    newer.write_bytes(bundle(authority, issued))
    join(newer, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(IdentityError, match="list of revoked certificates is number 1"):
        join(older, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    join(newer, folder)  # the same one again is no older one


@pytest.mark.parametrize("broken", [None, *BROKEN])
@pytest.mark.parametrize("role", ["node", "coordinator"])
def test_an_identity_without_its_list_of_revoked_certificates_is_unfit(
    tmp_path: Path, role: Role, broken: Callable[[Path], None] | None
) -> None:
    federation = Federation(tmp_path, make_authority(tmp_path / "authority")[0])
    folder = federation.node("bob") if role == "node" else federation.coordinator()
    crl = folder / identity.CRL
    crl.unlink()
    if broken is not None:
        broken(crl)
    with pytest.raises((IdentityError, StorageError), match="crl"):
        identity.load(folder, role)


@pytest.mark.parametrize("lost", ["removed", "older"])
def test_a_lost_record_of_the_authority_takes_no_revocation_back(tmp_path: Path, lost: str) -> None:
    authority, _ = make_authority(tmp_path / "authority")
    make_own(authority, tmp_path / "thief", Name("coordinator", "thief"), days=365)
    record = authority.folder / "issued.json"
    before = record.read_bytes()
    authority.revoke("thief")
    if lost == "removed":
        record.unlink()
    else:
        record.write_bytes(before)
    with pytest.raises(IdentityError, match="says are revoked"):
        make_own(authority, tmp_path / "other", Name("coordinator", "other"), days=365)
    assert crl_number(crl_from_pem(authority.crl())) == 2


def test_a_coordinators_list_is_not_replaced_by_an_older_one_of_its_authority(
    tmp_path: Path,
) -> None:
    authority, _ = make_authority(tmp_path / "authority")
    me = tmp_path / "me"
    make_own(authority, me, Name("coordinator", "me"), days=365)
    older = {name: (authority.folder / name).read_bytes() for name in ("issued.json", "crl.pem")}
    make_own(authority, tmp_path / "thief", Name("coordinator", "thief"), days=365)
    authority.revoke("thief")
    make_own(authority, me, Name("coordinator", "me"), days=365)
    for name, data in older.items():  # a backup of the whole folder, from before
        (authority.folder / name).write_bytes(data)
    with pytest.raises(IdentityError, match="list of revoked certificates is number 1"):
        make_own(authority, me, Name("coordinator", "me"), days=365)
    assert crl_number(crl_from_pem((me / "crl.pem").read_bytes())) == 2
