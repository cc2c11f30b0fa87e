"""Identities that are not good: answers that `join` does not install, folders that do not serve."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.identity.certificates import certificate_from_pem
from tests.helpers.identities import Federation, make_federation
from tests.helpers.messages import made_up, write_tsv
from tests.helpers.running import Finished, done_well, refused

Cli = Callable[..., Finished]
pytestmark = pytest.mark.timeout(90)


# Answers that do not fit


@pytest.fixture
def two(tmp_path: Path) -> tuple[Federation, Federation]:
    return make_federation(tmp_path / "one"), make_federation(tmp_path / "other")


def test_an_answer_that_does_not_fit_is_not_installed(
    cli: Cli, tmp_path: Path, two: tuple[Federation, Federation]
) -> None:
    ours, others = two
    bob = ours.node("bob")
    before = (bob / "certificate.pem").read_bytes()
    ours.node("anne")
    (tmp_path / "cut.pem").write_bytes((ours.folder / "bob.pem").read_bytes()[:400])
    (tmp_path / "huge.pem").write_bytes(b"\n" * 2**21)

    def joined(path: Path, folder: Path = bob) -> Finished:
        return cli("worker_node", "join", path, "--identity", folder)

    refused(joined(ours.folder / "anne.pem"), "not made for the key", "bob/key.pem"[4:])
    refused(joined(tmp_path / "cut.pem"), "cut.pem is unfit", "server admit")
    refused(joined(tmp_path / "huge.pem"), "huge.pem is unfit")
    refused(joined(bob / "ca.pem"), "ca.pem is unfit")
    refused(joined(ours.folder / "bob.pem", tmp_path / "empty"), "no key in")
    done_well(
        cli("server", "init", "--authority", others.authority.folder, "--identity", "other-id")
    )
    done_well(
        cli("server", "admit", bob / "bob.csr", "--yes", "--authority", others.authority.folder)
    )
    refused(joined(Path("bob.pem")), "belongs to fedsms federation", "--identity")
    assert (bob / "certificate.pem").read_bytes() == before


def test_an_answer_with_a_certificate_of_another_ca_is_refused(
    cli: Cli, tmp_path: Path, two: tuple[Federation, Federation]
) -> None:
    ours, others = two
    bob = ours.node("bob")
    mixed = (bob / "certificate.pem").read_bytes()
    mixed += (others.authority.folder / "ca.pem").read_bytes() + others.authority.crl()
    (tmp_path / "mixed.pem").write_bytes(mixed)
    shutil.copytree(bob, tmp_path / "new", ignore=shutil.ignore_patterns("c*.pem"))
    done = cli("worker_node", "join", "mixed.pem", "--identity", "new")
    refused(done, "not signed by the CA in it")


# Serving with an identity that is not good


@pytest.fixture
def serve(cli: Cli, tmp_path: Path) -> Callable[..., Finished]:
    write_tsv(tmp_path / "good.tsv", made_up(20))
    return lambda *flags: cli("worker_node", "serve", "--data", "good.tsv", "--port", "0", *flags)


def test_a_node_refuses_to_start_with_an_identity_that_is_not_good(
    serve: Callable[..., Finished], tmp_path: Path, two: tuple[Federation, Federation]
) -> None:
    ours, others = two
    bob = ours.node("bob")

    def broken(name: str, **files: bytes | None) -> Path:
        """Bob's folder with some files changed, or gone."""
        folder = tmp_path / name
        shutil.copytree(bob, folder)
        for stem, content in files.items():
            path = folder / f"{stem}.pem"
            path.unlink() if content is None else path.write_bytes(content)
        return folder

    foreign = (others.authority.folder / "ca.pem").read_bytes()
    cases = {
        tmp_path / "nowhere": ("no node's identity", "worker_node init"),
        broken("unfinished", certificate=None, ca=None): ("bob.csr", "worker_node join"),
        broken("no-key", key=None): ("key.pem missing",),
        broken("garbled", certificate=b"?"): ("certificate.pem is unfit",),
        broken("garbled-key", key=b"?"): ("key.pem is unfit",),
        broken("other-key", key=(ours.node("anne") / "key.pem").read_bytes()): ("not made for",),
        broken("other-ca", ca=foreign): ("did not sign it",),
        broken("other-crl", crl=others.authority.crl()): ("crl.pem is unfit", "did not sign it"),
        broken("leaf-as-ca", ca=(bob / "certificate.pem").read_bytes()): ("it is no CA's",),
        ours.coordinator(): ("a coordinator's", "a node's is needed"),
        ours.expire(broken("expired")): ("has expired", "node bob", "init --id bob", "join"),
    }
    for folder, words in cases.items():
        refused(serve("--identity", folder), *words)
    future = datetime.now(UTC) + timedelta(days=2)
    early = ours.resign(broken("early"), future, future + timedelta(days=9))
    refused(serve("--identity", early), "is not valid yet", "clock")


def test_an_expired_certificate_says_until_when_it_was_valid(
    serve: Callable[..., Finished], two: tuple[Federation, Federation]
) -> None:
    ours, _ = two
    folder = ours.expire(ours.node("bob"))
    until = certificate_from_pem((folder / "certificate.pem").read_bytes()).not_valid_after_utc
    refused(serve("--identity", folder), f"{until:%Y-%m-%d %H:%M} UTC")


def test_a_node_serves_under_the_name_in_its_certificate_alone(
    serve: Callable[..., Finished], two: tuple[Federation, Federation]
) -> None:
    folder = two[0].node("bob")
    refused(serve("--identity", folder, "--id", "anne"), "is not anne's", "node bob")
    (folder / "coordinators.txt").write_text("# nobody\n")
    refused(serve("--identity", folder), "no coordinator", "--coordinator")
    (folder / "coordinators.txt").write_text("fine\nnot so fine!\n")
    refused(serve("--identity", folder), "coordinators.txt is unfit", "line 2")
