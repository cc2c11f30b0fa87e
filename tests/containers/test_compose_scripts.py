"""What the one-shot containers do: identities kept, renewed or revoked; messages dealt out."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.compose.certificates import main as certificates
from scripts.compose.data import main as deal
from server.authority.folder import open_authority
from shared.identity import folder as identity
from tests.helpers.messages import made_up, write_tsv


def make_certificates(folder: Path, *flags: str) -> str:
    (folder / "runs").mkdir(exist_ok=True)
    owners = [f"--owner={name}={folder / name}" for name in ("bob", "anne")]
    places = ["--identity", str(folder / "coordinator"), "--authority", str(folder / "ca")]
    line = [*owners, *places, "--runs", str(folder / "runs"), *flags]
    done = CliRunner().invoke(certificates, line, catch_exceptions=False)
    return done.output


def prints(folder: Path) -> dict[str, bytes]:
    return {
        name: (folder / name / identity.CERTIFICATE).read_bytes()
        for name in ("coordinator", "bob", "anne")
    }


def test_identities_are_made_once_and_fit_together(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    before = prints(tmp_path)
    assert identity.load(tmp_path / "coordinator", "coordinator").name.id == "coordinator"
    for owner in ("bob", "anne"):
        assert identity.load(tmp_path / owner, "node").name.id == owner
        assert (tmp_path / owner / identity.KEY).stat().st_mode & 0o077 == 0
    assert "node bob: kept" in make_certificates(tmp_path)
    assert prints(tmp_path) == before


def test_certificates_that_end_soon_are_renewed_with_the_same_keys(tmp_path: Path) -> None:
    make_certificates(tmp_path, "--days", "7")
    before = prints(tmp_path)
    keys = [(tmp_path / name / identity.KEY).read_bytes() for name in before]
    said = make_certificates(tmp_path)
    assert said.count("renewed") == 3
    after = prints(tmp_path)
    assert all(after[name] != before[name] for name in before)
    assert [(tmp_path / name / identity.KEY).read_bytes() for name in before] == keys


def test_who_was_revoked_stays_revoked(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    open_authority(tmp_path / "ca").revoke("bob")
    assert "node bob is revoked" in make_certificates(tmp_path)
    states = {one.id: one.state for one in open_authority(tmp_path / "ca").issued()}
    assert states == {"coordinator": "valid", "bob": "revoked", "anne": "valid"}


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    return write_tsv(tmp_path / "collection.tsv", made_up(200))


def deal_out(folder: Path, collection: Path, *flags: str) -> str:
    owners = [f"--owner={name}={folder / name}" for name in ("bob", "anne")]
    for name in ("bob", "anne"):
        (folder / name).mkdir(exist_ok=True)
    line = [*owners, "--collection", str(collection), *flags]
    return CliRunner().invoke(deal, line, catch_exceptions=False).output


def dealt(folder: Path) -> dict[str, bytes]:
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in folder.glob("*/*.tsv")}


@pytest.fixture(autouse=True)
def as_an_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)


def test_messages_are_dealt_once_and_again_when_a_setting_changes(
    tmp_path: Path, collection: Path
) -> None:
    deal_out(tmp_path, collection)
    before = dealt(tmp_path)
    assert set(before) == {
        f"{owner}/{name}.tsv" for owner in ("bob", "anne") for name in ("messages", "held-out")
    }
    assert "bob and anne have their messages" in deal_out(tmp_path, collection)
    assert dealt(tmp_path) == before
    assert "others than at the last deal" in deal_out(tmp_path, collection, "--seed", "2")
    assert dealt(tmp_path) != before
    (tmp_path / "anne" / "held-out.tsv").unlink()
    deal_out(tmp_path, collection)
    assert dealt(tmp_path) == before


def test_an_owner_who_brings_messages_gets_none(
    tmp_path: Path, collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOB_DATA", "./my-messages")
    assert "bob brings messages of their own" in deal_out(tmp_path, collection)
    assert {name.split("/")[0] for name in dealt(tmp_path)} == {"anne"}


def test_nothing_is_looked_for_where_all_owners_bring_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOB_DATA", "./bobs")
    monkeypatch.setenv("ANNE_DATA", "./annes")
    monkeypatch.setattr("scripts.compose.data.find_data", lambda *_: pytest.fail("it looked"))
    deal_out(tmp_path, tmp_path)
    assert dealt(tmp_path) == {}
