"""A chained file without a ledger: what is refused when it is opened, and what a line leaves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import StorageError
from worker_node.privacy.chain_file import ChainFile, anchor_of, read_chain

KEY = ec.generate_private_key(ec.SECP256R1())


def opened() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node" / "chain.jsonl"


def written(path: Path, *whats: str) -> None:
    file = ChainFile(path, KEY)
    for what in whats:
        file.append({"what": what})
    file.close()


def test_each_line_has_the_hash_of_the_one_before_and_the_anchor_that_of_the_last(
    path: Path,
) -> None:
    before = opened()
    file = ChainFile(path, KEY)
    for what in ("a", "b", "c"):
        file.append({"what": what})
        assert opened() == before + 1
    assert [line["what"] for line in file.lines] == ["a", "b", "c"]
    lines, last = path.read_bytes().splitlines(), "0" * 64
    for number, line in enumerate(lines, 1):
        found = json.loads(line)
        assert (found["n"], found["previous"]) == (number, last)
        last = hashlib.sha256(line).hexdigest()
    anchor = json.loads(anchor_of(path).read_bytes())
    assert (anchor["lines"], anchor["hash"], len(lines)) == (3, last, 3)
    file.close()
    again, place, end = read_chain(path, KEY.public_key())
    assert [line["what"] for line in again] == ["a", "b", "c"]
    assert (place.n, place.hash, end) == (3, last, path.stat().st_size)


@pytest.mark.parametrize("whats", [[], ["a", "b"]])
def test_a_file_that_is_missing_beside_its_anchor_is_not_begun_anew(
    path: Path, whats: list[str]
) -> None:
    written(path, *whats)
    path.unlink()
    with pytest.raises(StorageError, match="it is missing, and its anchor is there"):
        ChainFile(path, KEY)
    assert not path.exists()


def test_an_anchor_that_is_missing_beside_lines_is_not_made_anew(path: Path) -> None:
    written(path, "a")
    anchor_of(path).unlink()
    with pytest.raises(StorageError, match="is missing, which says how far it had got"):
        ChainFile(path, KEY)
    assert not anchor_of(path).exists()
    path.write_bytes(b"")
    ChainFile(path, KEY).close()  # there was none yet: a crash came between the two
    assert json.loads(anchor_of(path).read_bytes())["lines"] == 0


def test_the_file_may_be_ahead_of_its_anchor_and_never_behind(path: Path) -> None:
    """A line is on disk before its anchor is."""
    files = []
    for whats in ([], ["a"], ["b"]):
        written(path, *whats)
        files.append((path.read_bytes(), anchor_of(path).read_bytes()))
    for line in range(3):
        for anchor in range(3):
            path.write_bytes(files[line][0])
            anchor_of(path).write_bytes(files[anchor][1])
            if anchor <= line:
                assert len(read_chain(path, KEY.public_key())[0]) == line
            else:
                with pytest.raises(StorageError) as caught:
                    read_chain(path, KEY.public_key())
                said = f"it had {anchor} lines, and now has other {line}"
                assert said in str(caught.value)


def test_lines_that_are_as_many_and_others_are_not_those_of_the_anchor(path: Path) -> None:
    written(path, "a")
    anchor = anchor_of(path).read_bytes()
    for one in (path, anchor_of(path)):
        one.unlink()
    written(path, "b")
    anchor_of(path).write_bytes(anchor)
    with pytest.raises(StorageError, match="it had 1 lines, and now has other 1"):
        read_chain(path, KEY.public_key())


@pytest.mark.parametrize("of", ["a line", "the anchor", "an unsigned anchor"])
def test_what_was_changed_is_refused_and_let_go(path: Path, of: str) -> None:
    if of == "an unsigned anchor":
        ChainFile(path, None).close()
    else:
        written(path, "a", "b")
        one = path if of == "a line" else anchor_of(path)
        one.write_bytes(one.read_bytes().replace(b'"', b"'", 1))
    before = opened()
    with pytest.raises(StorageError, match="is not as this node left it"):
        ChainFile(path, KEY)
    assert opened() == before


def test_a_line_cut_short_is_gone_once_it_is_opened(path: Path) -> None:
    written(path, "a")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"n": 2, "what"')
    file = ChainFile(path, KEY)
    assert path.read_bytes() == whole
    file.append({"what": "b"})
    file.close()
    assert [line["what"] for line in read_chain(path, KEY.public_key())[0]] == ["a", "b"]


@pytest.mark.parametrize("how", ["moved", "replaced"])
def test_nothing_is_added_to_a_file_that_is_not_at_its_place_any_more(path: Path, how: str) -> None:
    file = ChainFile(path, KEY)
    file.append({"what": "a"})
    aside = path.with_name("aside")
    path.rename(aside)
    if how == "replaced":
        shutil.copy2(aside, path)
    kept, anchor = aside.read_bytes(), anchor_of(path).read_bytes()
    with pytest.raises(StorageError):
        file.append({"what": "b"})
    assert (aside.read_bytes(), anchor_of(path).read_bytes()) == (kept, anchor)
    assert len(file.lines) == 1
    file.close()


def test_an_anchor_that_is_gone_is_not_written_anew_under_a_file_that_is_open(path: Path) -> None:
    file = ChainFile(path, KEY)
    anchor_of(path).unlink()
    with pytest.raises(StorageError, match="cannot write"):
        file.append({"what": "a"})
    assert (anchor_of(path).exists(), file.lines) == (False, [])
    file.close()


def test_what_the_system_refuses_is_an_error_of_the_path_and_lets_the_file_go(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.mkdir(parents=True)
    before = opened()
    with pytest.raises(StorageError, match="cannot write"):
        ChainFile(path, KEY)
    path.rmdir()

    def fails(file: int, size: int) -> Any:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "ftruncate", fails)
        with pytest.raises(StorageError, match=r"cannot write .*Input/output error"):
            ChainFile(path, KEY)
    assert opened() == before
    ChainFile(path, KEY).close()


def test_two_do_not_have_it_at_once_and_the_next_one_may(path: Path) -> None:
    first = ChainFile(path, KEY)
    with pytest.raises(StorageError, match="another node keeps"):
        ChainFile(path, KEY)
    first.append({"what": "a"})
    first.close()
    first.close()
    with pytest.raises(StorageError, match="it was closed"):
        first.append({"what": "b"})
    second = ChainFile(path, KEY)
    assert [line["what"] for line in second.lines] == ["a"]
    second.close()


def test_what_is_opened_and_not_added_to_is_as_it_was_before(path: Path) -> None:
    """Whoever opens it without the key leaves the signature."""
    written(path, "a")
    ahead = path.read_bytes()
    anchor = anchor_of(path).read_bytes()
    written(path, "b")
    anchor_of(path).write_bytes(anchor)
    for key in (KEY, None):
        ChainFile(path, key).close()
        assert anchor_of(path).read_bytes() == anchor
        assert path.read_bytes().startswith(ahead)


def test_a_process_whose_input_is_closed_writes_and_lets_go_as_any_other(path: Path) -> None:
    """Its file has the number 0 then."""
    kept = os.dup(0)
    os.close(0)
    try:
        file = ChainFile(path, KEY)
        assert os.fstat(0).st_ino == path.stat().st_ino
        file.append({"what": "a"})
        file.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(0)
    finally:
        os.dup2(kept, 0)
        os.close(kept)
    assert len(read_chain(path, KEY.public_key())[0]) == 1
