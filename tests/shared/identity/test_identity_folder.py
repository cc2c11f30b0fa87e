"""What an identity folder is loaded with: good but for one thing, which is found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from shared.errors import IdentityError
from shared.identity import folder as identity
from shared.identity.certificates import (
    Name,
    crl_from_pem,
    day,
    key_fingerprint,
    moment_in_words,
    to_pem,
)
from tests.helpers.answers import CA, HOSPITALS, KEY, OTHER, folder_with_key, good, joins
from tests.helpers.made_certificates import BOB, DAY, HOSPITAL, NOW, resigned
from tests.helpers.running import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_with_key(tmp_path / "bob")


def loaded(folder: Path, role: Any = "node") -> identity.Identity:
    return identity.load(folder, role)


def puts(name: str, data: Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data())


def certificate(**changes: Any) -> Callable[[], bytes]:
    return lambda: to_pem(CA.signs(BOB, KEY.public_key(), **changes))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "an expired certificate": (
        puts("certificate.pem", certificate(since=NOW - 9 * DAY, until=NOW - DAY)),
        "has expired",
    ),
    "a certificate of tomorrow": (
        puts("certificate.pem", certificate(since=NOW + DAY)),
        "is not valid yet",
    ),
    "another's certificate": (
        puts("certificate.pem", lambda: to_pem(CA.signs(BOB, OTHER.key.public_key()))),
        "was not made for the key",
    ),
    "another CA's certificate": (
        puts("certificate.pem", lambda: to_pem(OTHER.signs(BOB, KEY.public_key()))),
        "did not sign it",
    ),
    "a coordinator's certificate": (
        puts("certificate.pem", lambda: to_pem(HOSPITALS)),
        "it is a coordinator's",
    ),
    "a certificate of nobody": (
        puts("certificate.pem", certificate(alternative=None)),
        "it names no node",
    ),
    "two certificates": (
        puts("certificate.pem", lambda: certificate()() * 2),
        "holds 2 certificates",
    ),
    "no CA for a CA": (puts("ca.pem", lambda: to_pem(HOSPITALS)), "it is no CA's"),
    "an expired CA": (
        puts(
            "ca.pem",
            lambda: to_pem(resigned(CA.certificate, CA.key, since=NOW - 9 * DAY, until=NOW - DAY)),
        ),
        "has expired",
    ),
    "another CA's list": (puts("crl.pem", OTHER.revokes), "did not sign its list"),
    "a list that is over": (
        puts("crl.pem", lambda: CA.revokes(until=NOW - DAY)),
        "its list of revoked certificates ended",
    ),
    "a list that is none": (puts("crl.pem", lambda: b"x"), "no list of revoked certificates"),
    "a key that is none": (puts("key.pem", lambda: b"x"), "not an unencrypted private key"),
    **{
        f"no {name}": (lambda folder, name=name: (folder / name).unlink(), f"{name} missing")  # type: ignore[misc]
        for name in ("key.pem", "certificate.pem", "ca.pem", "crl.pem")
    },
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_identity_with_one_thing_wrong_is_not_used(name: str, folder: Path) -> None:
    joins(folder, good())
    break_it, why = BROKEN[name]
    break_it(folder)
    with pytest.raises(IdentityError, match=re.escape(why)):
        loaded(folder)


@pytest.mark.parametrize(("days", "warns"), [(29, True), (31, False)])
def test_a_certificate_is_warned_of_in_its_last_thirty_days(
    days: int, warns: bool, folder: Path
) -> None:
    joins(folder, good(CA.signs(BOB, KEY.public_key(), until=NOW + days * DAY)))
    (folder / "key.pem").chmod(0o600)
    warnings = loaded(folder).warnings()
    assert [("ends at" in one) for one in warnings] == [True] * warns


@pytest.mark.parametrize(("mode", "warns"), [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1)])
def test_a_key_that_others_may_read_is_warned_of(mode: int, warns: int, folder: Path) -> None:
    joins(folder, good())
    (folder / "key.pem").chmod(mode)
    assert sum("a private key" in one for one in loaded(folder).warnings()) == warns


WARNS = """
import os, sys
from pathlib import Path
from shared.identity.folder import load
user, group, *more = map(int, sys.argv[2:])
os.setgroups([group, *more]), os.setgid(group), os.setuid(user)
print([one for one in load(Path(sys.argv[1]), "node").warnings() if "private key" in one])
"""
OURS, OTHERS = 10001, 10002


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to users")
@pytest.mark.parametrize(
    ("owner", "group", "mode", "warns"),
    [
        # a Secret as a kubelet mounts it for fsGroup: root's, and of our group
        (0, OURS, 0o440, False),
        (0, OURS, 0o640, False),
        (0, OURS, 0o460, True),  # the group may write it
        (0, OURS, 0o450, True),
        (0, OURS, 0o444, True),  # everybody may read it
        (0, OURS, 0o442, True),
        (0, OTHERS, 0o444, True),
        # our own needs no group, whosever that is
        (OURS, OURS, 0o400, False),
        (OURS, OURS, 0o440, True),
        (OURS, OURS, 0o640, True),
        (OURS, OTHERS, 0o640, True),
        # another user's, who could change it
        (OTHERS, OURS, 0o440, True),
    ],
)
def test_a_key_that_is_read_as_a_member_of_a_group_is_right_where_it_is_roots(
    owner: int, group: int, mode: int, warns: bool, folder: Path
) -> None:
    joins(folder, good())
    os.chown(folder / "key.pem", owner, group)
    (folder / "key.pem").chmod(mode)
    said = warnings_of_a_process(folder, OURS, OURS)
    assert ("chmod 600" in said) is warns, said


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to users")
def test_the_group_may_be_a_further_one_of_the_process_and_root_itself_needs_none(
    folder: Path,
) -> None:
    joins(folder, good())
    os.chown(folder / "key.pem", 0, OURS)
    (folder / "key.pem").chmod(0o440)
    assert warnings_of_a_process(folder, OTHERS, OTHERS, OURS) == "[]\n"
    assert "chmod 600" in warnings_of_a_process(folder, 0, OURS)


def warnings_of_a_process(folder: Path, user: int, group: int, *more: int) -> str:
    """What a process of that user, with those groups, says of the key in a folder."""
    for one in (folder, *folder.parents):  # pytest's folders are one user's
        if one.stat().st_uid == os.geteuid() and one.stat().st_mode & 0o005 != 0o005:
            one.chmod(one.stat().st_mode | 0o005)
    done = subprocess.run(
        [sys.executable, "-c", WARNS, str(folder), *map(str, (user, group, *more))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


@pytest.mark.parametrize("there", ["key.pem", "certificate.pem", "ca.pem", None])
def test_an_identity_is_there_once_somebody_has_begun_to_make_it(
    there: str | None, tmp_path: Path
) -> None:
    if there:
        (tmp_path / there).touch()
    assert identity.is_there(tmp_path) is (there is not None)


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    made = identity.kept_or_new_key(tmp_path / "new")
    path = tmp_path / "new" / "key.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert key_fingerprint(identity.kept_or_new_key(tmp_path / "new").public_key()) == (
        key_fingerprint(made.public_key())
    )


def test_a_file_of_keys_is_never_wider_than_its_owner_whatever_the_mask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        identity.kept_or_new_key(tmp_path / "new")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "key.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("left", "role", "command"),
    [
        ((), "node", "python -m worker_node init --id ID --identity"),
        (("key.pem",), "node", "python -m worker_node join FILE --identity"),
        (("key.pem", "ca.pem", "crl.pem"), "node", "python -m worker_node join FILE --identity"),
        (("certificate.pem", "ca.pem"), "node", "python -m worker_node init --id ID --identity"),
        ((), "coordinator", "python -m server init --identity"),
        (("key.pem",), "coordinator", "python -m server init --identity"),
    ],
)
def test_an_identity_that_is_not_whole_says_how_to_complete_it(
    left: tuple[str, ...], role: str, command: str, folder: Path
) -> None:
    joins(folder, good())
    (folder / "bob.csr").touch()
    for path in folder.iterdir():
        if path.name not in (*left, "bob.csr"):
            path.unlink()
    with pytest.raises(IdentityError) as refused:
        loaded(folder, role)
    assert command in refused.value.next_step
    assert ("bob.csr" in refused.value.next_step) is ("join" in command)


@pytest.mark.parametrize(
    ("name", "command"),
    [(BOB, "worker_node init --id bob"), (HOSPITAL, "python -m server renew --identity")],
    ids=str,
)
def test_a_certificate_that_has_expired_says_how_to_renew_it(
    name: Name, command: str, folder: Path
) -> None:
    joins(folder, good())
    old = CA.signs(name, KEY.public_key(), since=NOW - 9 * DAY, until=NOW - DAY)
    (folder / "certificate.pem").write_bytes(to_pem(old))
    with pytest.raises(IdentityError) as refused:
        loaded(folder, name.role)
    assert command in refused.value.next_step


def test_a_ca_of_another_kind_of_key_signs_no_list_here() -> None:
    key = rsa.generate_private_key(65537, 2048)
    builder = x509.CertificateBuilder(
        subject_name=CA.certificate.subject,
        issuer_name=CA.certificate.issuer,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=NOW - DAY,
        not_valid_after=NOW + DAY,
    )
    made = builder.sign(key, hashes.SHA256())
    with pytest.raises(IdentityError, match="did not sign its list"):
        identity.check_crl(Path("crl.pem"), crl_from_pem(CA.revokes()), made)


def test_days_and_moments_are_told_in_utc() -> None:
    late = datetime.fromisoformat("2026-11-22T23:30:00-05:00")
    assert (day(late), moment_in_words(late)) == ("2026-11-23", "2026-11-23 04:30 UTC")
