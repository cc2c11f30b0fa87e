"""Reading a log's files: which are there, what is new in them, and the exact words of a verdict."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import StorageError
from tests.worker_node.audit.writing import write_log
from worker_node.audit import reading
from worker_node.audit.log import older_files
from worker_node.audit.reading import Filter, Verdict, entries, follow, lines_of, verify


def anchor_of(path: Path) -> Path:
    return path.with_name(path.name + ".anchor")


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in lines_of(path)]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def test_a_log_that_is_not_there_is_an_error_of_each_reader(log: Path) -> None:
    for read in (
        lambda: list(lines_of(log)),
        lambda: list(entries(log, Filter())),
        lambda: next(follow(log, Filter())),
        lambda: verify(log, None),
    ):
        with pytest.raises(StorageError, match="there is no audit log"):
            read()


def test_files_that_were_put_aside_are_a_log_without_a_newest_one(log: Path) -> None:
    write_log(log, rotate_bytes=2000)
    written = len(log.read_bytes().splitlines())
    assert 0 < written < 20
    log.unlink()
    assert numbers(log) == list(range(1, 21 - written))


def test_a_file_put_aside_between_two_looks_is_read_once(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(log, lines=5)

    def put_aside(path: Path) -> list[Path]:
        if path.exists():
            path.rename(path.with_name("audit.jsonl.000001"))
        return older_files(path)

    write_log(log, lines=5)
    files = older_files(log)
    monkeypatch.setattr(reading, "files_of", lambda path: files)
    monkeypatch.setattr(reading, "older_files", put_aside)
    assert numbers(log) == list(range(1, 11))


def test_a_file_that_cannot_be_read_is_named(log: Path) -> None:
    write_log(log, lines=5)
    log.with_name("audit.jsonl.000001").mkdir()
    with pytest.raises(StorageError, match=r"audit\.jsonl\.000001"):
        list(lines_of(log))


def test_only_lines_that_the_filter_takes_are_given(log: Path) -> None:
    write_log(log, lines=5)
    assert list(entries(log, Filter(coordinator="nobody"))) == []
    assert len(list(entries(log, Filter()))) == 5


def test_following_looks_again_only_when_something_has_changed_and_within_a_second(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(log, lines=5)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        assert 0.05 <= seconds <= 1
        if len(waits) % 3 == 0:
            write_log(log, lines=5)

    monkeypatch.setattr("worker_node.audit.reading.time.sleep", wait)
    lines = follow(log, Filter())
    assert [one["n"] for one in itertools.islice(lines, 15)] == list(range(1, 16))
    assert len(waits) == 6


def test_following_ends_where_the_log_was_taken_away(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(log, lines=5)
    monkeypatch.setattr("worker_node.audit.reading.time.sleep", lambda _: log.unlink())
    lines = follow(log, Filter())
    for _ in range(5):
        next(lines)
    with pytest.raises(StorageError, match="there is no audit log"):
        next(lines)


def test_the_verdict_of_an_empty_log_has_no_lines(log: Path) -> None:
    write_log(log, lines=0)
    assert log.read_bytes() == b""
    assert verify(log, None) == Verdict(0, 0, "0" * 64, 0, False, "")


WHAT_VERIFY_SAYS: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str, int]] = {
    "a line removed": (
        lambda lines: lines[:5] + lines[6:],
        "after line number 5: it is number 7, and 6 should stand here",
        5,
    ),
    "a line given twice": (
        lambda lines: [*lines[:5], *lines[4:]],
        "after line number 5: it is number 5, and 6 should stand here",
        5,
    ),
    "the end cut off": (
        lambda lines: lines[:-1],
        "the end is missing: there were 20 lines, and the last here is 19",
        19,
    ),
    "all cut off": (
        lambda lines: [],
        "the end is missing: there were 20 lines, and the last here is 0",
        0,
    ),
    "the last line changed": (
        lambda lines: [*lines[:-1], lines[-1].replace(b'"19"', b'"18"')],
        "line number 20 is another than the anchor vouches for",
        20,
    ),
}


@pytest.mark.parametrize("name", WHAT_VERIFY_SAYS)
def test_a_verdict_says_what_is_wrong_and_reads_no_further(name: str, log: Path) -> None:
    write_log(log)
    tamper, fault, last = WHAT_VERIFY_SAYS[name]
    log.write_bytes(b"".join(tamper(log.read_bytes().splitlines(keepends=True))))
    found = verify(log, None)
    assert (found.fault, found.last, found.anchored) == (fault, last, 20)


def test_an_anchor_of_no_line_vouches_for_what_a_chain_begins_with(log: Path) -> None:
    """What a node leaves that was killed after its first lines and before their anchor."""
    write_log(log, lines=0)
    none = anchor_of(log).read_bytes()
    write_log(log, lines=5)
    anchor_of(log).write_bytes(none)
    found = verify(log, None)
    assert (found.first, found.last, found.anchored, found.fault) == (1, 5, 0, "")
    assert json.loads(none)["hash"] == "0" * 64
    anchor_of(log).write_bytes(none.replace(b"0" * 64, b"1" * 64))
    assert verify(log, None).fault == "line number 0 is another than the anchor vouches for"


def test_an_anchor_whose_line_and_the_next_were_moved_away_vouches_for_nothing(log: Path) -> None:
    write_log(log)
    older = anchor_of(log).read_bytes()
    write_log(log, lines=5)
    anchor_of(log).write_bytes(older)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[20:]))
    assert verify(log, None).fault == ""
    log.write_bytes(b"".join(lines[21:]))
    assert verify(log, None).fault == (
        "line number 20, which the anchor vouches for, is missing and the next too"
    )
