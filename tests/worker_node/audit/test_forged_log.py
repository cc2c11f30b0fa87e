"""What whoever can write a node's log, and has not its key, can make of it, and what is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.helpers.running import Finished, done_well
from tests.worker_node.audit.writing import write_log
from worker_node.audit.lines import Entry, Place, check_line, line_of
from worker_node.audit.log import ROTATE_BYTES, older_files
from worker_node.audit.reading import lines_of, verify

KEY = ec.generate_private_key(ec.SECP256R1())


def forged(lines: int, after: Place) -> bytes:
    """Lines as whoever can write the file, and has not the node's key, would make them."""
    made = b""
    for number in range(lines):
        line, after = line_of(Entry("keep", object=f"forged {number}"), after, datetime.now(UTC))
        made += line
    return made


def ends_of(path: Path) -> list[Place]:
    return [check_line(line, None)[1] for line in lines_of(path)]


def test_lines_that_were_added_at_the_end_are_ones_that_nothing_vouches_for(
    tmp_path: Path, cli: Callable[..., Finished]
) -> None:
    path, key = tmp_path / "audit.jsonl", ec.generate_private_key(ec.SECP256R1())
    write_log(path, key=key)
    with path.open("ab") as file:
        file.write(forged(2, ends_of(path)[-1]))
    found = verify(path, key.public_key())
    assert (found.last, found.anchored) == (22, 20)
    told = cli("worker_node", "log", "--audit-log", path, "--verify").out
    assert "vouches for the first 20" in told
    assert "nothing vouches for later ones" in told
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:20]))
    told = cli("worker_node", "log", "--audit-log", path, "--verify").out
    assert "nothing vouches" not in told


@pytest.mark.parametrize("after", [19, 20, 21])
def test_a_log_of_forged_lines_alone_is_found(tmp_path: Path, after: int) -> None:
    """Numbered as if the lines that the anchor vouches for had been moved away."""
    path, key = tmp_path / "audit.jsonl", ec.generate_private_key(ec.SECP256R1())
    write_log(path, key=key)
    path.write_bytes(forged(3, Place(after, "0" * 64)))
    assert verify(path, key.public_key()).fault != ""


def test_a_log_that_goes_on_after_the_anchor_in_a_new_file_is_whole(tmp_path: Path) -> None:
    path, key = tmp_path / "audit.jsonl", ec.generate_private_key(ec.SECP256R1())
    write_log(path, key=key)
    path.write_bytes(forged(1, ends_of(path)[-1]))
    found = verify(path, key.public_key())
    assert (found.first, found.last, found.anchored, found.fault) == (21, 21, 20, "")


@pytest.mark.parametrize("gone", [1, 3])
@pytest.mark.parametrize("key", [None, KEY], ids=["unsigned", "signed"])
def test_the_beginning_may_be_moved_away_and_the_rest_is_checked(
    tmp_path: Path,
    cli: Callable[..., Finished],
    key: ec.EllipticCurvePrivateKey | None,
    gone: int,
) -> None:
    path, public = tmp_path / "audit.jsonl", key.public_key() if key is not None else None
    write_log(path, key=key, rotate_bytes=2000)
    for oldest in older_files(path)[:gone]:
        oldest.rename(tmp_path / f"elsewhere-{oldest.name}")
    first = json.loads(next(lines_of(path)))["n"]
    assert first > 1
    found = verify(path, public)
    assert (found.first, found.last, found.fault) == (first, 20, "")
    told = done_well(cli("worker_node", "log", "--audit-log", path, "--verify"))
    assert f"before line {first}, are not in this folder" in told
    write_log(path, key=key)  # and the node goes on in it
    assert verify(path, public).last == 40


def test_an_anchor_without_an_identity_is_unsigned_and_proves_nothing(tmp_path: Path) -> None:
    """Whoever can write the log writes another, and its anchor."""
    real, forged = tmp_path / "real", tmp_path / "forged"
    for folder in (real, forged):
        folder.mkdir()
        write_log(folder / "audit.jsonl")
    assert "signature" not in (real / "audit.jsonl.anchor").read_text(encoding="utf-8")
    for name in ("audit.jsonl", "audit.jsonl.anchor"):
        (real / name).write_bytes((forged / name).read_bytes())
    assert verify(real / "audit.jsonl", None).fault == ""


def test_an_older_log_put_back_with_its_anchor_is_not_found(tmp_path: Path) -> None:
    """What the page says that nothing finds, but the hash that somebody noted."""
    path, key = tmp_path / "audit.jsonl", ec.generate_private_key(ec.SECP256R1())
    anchor = path.with_name("audit.jsonl.anchor")
    write_log(path, key=key)
    older = path.read_bytes(), anchor.read_bytes()
    write_log(path, key=key)
    noted = verify(path, key.public_key()).hash
    path.write_bytes(older[0])
    anchor.write_bytes(older[1])
    found = verify(path, key.public_key())
    assert found.fault == ""
    assert found.hash != noted


def test_files_are_put_aside_at_the_size_that_the_page_says() -> None:
    assert ROTATE_BYTES == 64 * 2**20
