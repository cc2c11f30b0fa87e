"""Reading a log: which lines a filter takes, what counts as a time, and what a verdict says."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import StorageError, UsageError
from tests.worker_node.audit.writing import write_log
from worker_node.audit.lines import NOTHING, BadLine, Entry, Place, check_line, line_of
from worker_node.audit.reading import Filter, entries, files_of, follow, moment, verify

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
LINE = {"who": "hospital", "decision": "refused", "time": "2026-11-22T12:00:00.000000Z"}


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        (Filter(), True),
        (Filter(coordinator="hospital"), True),
        (Filter(coordinator="clinic"), False),
        (Filter(decision="refused"), True),
        (Filter(decision="allowed"), False),
        (Filter(since=NOON), True),
        (Filter(since=NOON + timedelta(microseconds=1)), False),
        (Filter(since=NOON - timedelta(days=1)), True),
        (Filter("hospital", "refused", NOON), True),
        (Filter("hospital", "allowed", NOON), False),
    ],
)
def test_a_filter_takes_what_fits_all_that_it_names(wanted: Filter, takes: bool) -> None:
    assert wanted.takes(LINE) is takes


@pytest.mark.parametrize(("text", "ago"), [("90m", 5400), ("2h", 7200), ("7d", 604_800)])
def test_so_long_ago_is_a_time(text: str, ago: int) -> None:
    before = datetime.now(UTC)
    found = moment(text)
    assert before <= found + timedelta(seconds=ago) <= datetime.now(UTC)


def test_a_date_is_a_time_in_its_zone() -> None:
    assert moment("2026-11-22T12:00+02:00") == NOON - timedelta(hours=2)
    assert moment("2026-11-22T12:00Z") == NOON
    assert moment("2026-11-22") == datetime(2026, 11, 22).astimezone()
    for wrong in ("", "h", "2w", "1234567h", "tomorrow", "0001-01-01"):
        with pytest.raises(UsageError, match="is no time"):
            moment(wrong)


def test_files_are_those_that_are_there_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with pytest.raises(StorageError, match="there is no audit log"):
        files_of(path)
    for number in (2, 10, 1):
        path.with_name(f"audit.jsonl.{number:06d}").touch()
    names = [f"audit.jsonl.{number:06d}" for number in (1, 2, 10)]
    assert [one.name for one in files_of(path)] == names
    path.touch()
    assert [one.name for one in files_of(path)] == [*names, "audit.jsonl"]


def test_following_gives_each_line_once(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write_log(path, lines=5)
    lines = follow(path, Filter())
    assert [one["n"] for one in itertools.islice(lines, 5)] == [1, 2, 3, 4, 5]
    write_log(path, lines=5)
    assert [one["n"] for one in itertools.islice(lines, 5)] == [6, 7, 8, 9, 10]


def test_lines_that_are_damaged_are_passed_over_when_they_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write_log(path, lines=5)
    path.write_bytes(b"damaged\n" + path.read_bytes())
    assert [one["n"] for one in entries(path, Filter())] == [1, 2, 3, 4, 5]


ANCHORS: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (Path.unlink, "is missing, which says where the log ends"),
    "none": (lambda path: path.write_bytes(b"x"), "it is no anchor of such a log"),
    "unsigned": (
        lambda path: path.write_text(
            json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "signature"})
        ),
        "it lacks this node's signature",
    ),
}


@pytest.mark.parametrize("name", ANCHORS)
def test_a_verdict_vouches_for_nothing_without_a_good_anchor(name: str, tmp_path: Path) -> None:
    path, key = tmp_path / "audit.jsonl", ec.generate_private_key(ec.SECP256R1())
    write_log(path, lines=5, key=key)
    break_it, why = ANCHORS[name]
    break_it(path.with_name("audit.jsonl.anchor"))
    found = verify(path, key.public_key())
    assert (found.anchored, found.signed, found.last) == (None, False, 5)
    assert why in found.fault


def test_a_verdict_names_the_line_after_which_something_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    write_log(path, lines=5)
    good = verify(path, None)
    assert (good.first, good.last, good.anchored, good.fault) == (1, 5, 5, "")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"damaged\n", *lines[3:]]))
    assert verify(path, None).fault == "after line number 3: it is no line of such a log"
    path.write_bytes(b"damaged\n" + b"".join(lines))
    assert verify(path, None).fault == "line 1: it is no line of such a log"


def changed(line: bytes, **values: Any) -> bytes:
    return json.dumps({**json.loads(line), **values}).encode()


def test_a_line_is_checked_for_its_number_and_for_the_hash_before_it() -> None:
    assert NOTHING == "0" * 64
    first, after_first = line_of(Entry("train"), Place(), NOON)
    second, after_second = line_of(Entry("train"), after_first, NOON)
    assert (after_first.n, after_second.n) == (1, 2)
    assert check_line(second.rstrip(), after_first)[1] == after_second
    assert check_line(second.rstrip(), None)[1] == after_second
    assert json.loads(first)["time"] == "2026-11-22T12:00:00.000000Z"
    for wrong, why in (
        (changed(second, n=3), "it is number 3, and 2 should stand here"),
        (changed(second, n=1), "it is number 1, and 2 should stand here"),
        (changed(second, previous=NOTHING), "the line before it was changed"),
        (changed(second, n="2"), "it is no line"),
        (changed(second, n=True), "it is no line"),
        (changed(second, previous=None), "it is no line"),
        (b"[" * 100_000, "it is no line"),
    ):
        with pytest.raises(BadLine, match=why):
            check_line(wrong, after_first)
