"""Receipts in words, and their file: when it is written anew, and what is not taken for one."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from shared.errors import StorageError
from shared.privacy.recognising import Recognised
from worker_node.privacy.receipts import KEPT, Figures, Receipt, ReceiptFile, read_receipts

TOLD = Figures.of(Recognised(80, 100, 20, 200, 0.875), 400)
CHANCE = Figures.of(Recognised(30, 100, 50, 200, 0.5), 1200)


def receipt(number: int = 3, **changed: Any) -> Receipt:
    values: dict[str, Any] = {
        "time": "2026-11-28T00:00:00Z",
        "coordinator": "hospital",
        "run": "a-run",
        "round": number,
        "rounds": 9,
        "leaves": "masked update",
        "words": TOLD,
        "messages": CHANCE,
    }
    return Receipt(**(values | changed))


def test_figures_are_those_that_the_attack_found() -> None:
    assert TOLD.model_dump() == {
        "found": 80,
        "asked": 100,
        "all": 400,
        "false_alarms": 20,
        "others": 200,
        "auc": 0.875,
        "is_chance": False,
    }
    assert CHANCE.is_chance
    assert TOLD.advantage == pytest.approx(80 / 100 - 20 / 200)
    assert CHANCE.advantage == 0.0


def test_a_receipt_says_what_was_found_or_that_nothing_was_and_whether_it_stayed() -> None:
    words = "80 of 100 of your 400 words (10 of 100 others are taken for yours)"
    none = "none of your 1,200 messages that guessing would not find"
    assert receipt().in_words() == f"round 3 of 9, masked update: {words}; {none}"
    kept = receipt(refused="leak.most_words").in_words()
    assert kept == f"{receipt().in_words()}; it stayed here (rule leak.most_words)"
    nothing = "nothing that the attack finds: it recognises words and messages as by chance"
    assert receipt(words=CHANCE).in_words() == f"round 3 of 9, masked update: {nothing}"
    turned = receipt(words=CHANCE, messages=TOLD).in_words()
    assert "none of your 1,200 words" in turned
    assert "80 of 100 of your 400 messages" in turned


@pytest.mark.parametrize(
    ("name", "value"),
    [("found", -1), ("asked", True), ("all", "4"), ("auc", "0.5"), ("more", 1), ("is_chance", 1)],
)
def test_what_is_no_figure_is_not_taken_for_one(name: str, value: Any) -> None:
    Figures.model_validate(TOLD.model_dump() | {"found": 0})
    with pytest.raises(ValidationError):
        Figures.model_validate(TOLD.model_dump() | {name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("round", -1), ("rounds", "9"), ("leaves", "rows"), ("more", 1)]
)
def test_a_line_that_is_no_receipt_makes_a_file_damaged(
    tmp_path: Path, name: str, value: Any
) -> None:
    path = tmp_path / "receipts.jsonl"
    path.write_text(receipt().model_dump_json() + "\n")
    assert read_receipts(path) == [receipt()]
    path.write_text(json.dumps(receipt().model_dump() | {name: value}) + "\n")
    with pytest.raises(StorageError, match="damaged"):
        read_receipts(path)


def test_a_line_is_added_to_the_file_until_it_has_twice_as_many_as_are_kept(tmp_path: Path) -> None:
    """Written anew it is another file; of two thousand it is, and of one more."""
    path = tmp_path / "receipts.jsonl"
    kept = ReceiptFile(path)
    assert kept.path == path
    files, lengths = [], []
    for number in range(2 * KEPT + 3):
        kept.add(receipt(number))
        files.append(path.stat().st_ino)
        lengths.append(path.read_bytes().count(b"\n") if number > 2 * KEPT - 3 else number + 1)
    assert KEPT == 1000
    assert [one for one in range(1, len(files)) if files[one] != files[one - 1]] == [2 * KEPT]
    assert lengths == [*range(1, 2 * KEPT + 1), KEPT, KEPT + 1, KEPT + 2]
    assert [one.round for one in read_receipts(path)] == list(range(1001, 2003))
    assert [one.round for one in kept.newest] == list(range(1003, 2003))


def test_the_first_after_a_start_writes_the_file_anew(tmp_path: Path) -> None:
    path = tmp_path / "receipts.jsonl"
    ReceiptFile(path).add(receipt(1))
    path.write_bytes(path.read_bytes() + b'{"half')
    again = ReceiptFile(path)
    assert [one.round for one in again.newest] == [1]
    assert path.read_bytes().endswith(b'{"half')
    for number in (2, 3):
        again.add(receipt(number))
        lines = path.read_text().splitlines()
        assert [json.loads(line)["round"] for line in lines] == list(range(1, number + 1))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_is_read_up_to_four_megabytes_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "receipts.jsonl"
    line = receipt().model_dump_json() + "\n"
    path.write_text(line)
    with path.open("r+b") as file:
        file.truncate(4 * 2**20)  # no line ends in what follows
    assert read_receipts(path) == [receipt()]
    with path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(StorageError, match="larger than 4,194,304 bytes"):
        ReceiptFile(path)


def test_figures_are_told_by_number_where_all_were_asked_about() -> None:
    of_all = Figures.of(Recognised(1234, 1500, 3, 100, 0.9), 1500)
    told = "1,234 of your 1,500 words (3 of 100 others are taken for yours)"
    assert of_all.in_words("words") == told


def test_in_memory_none_is_written_and_in_a_folder_that_is_gone_it_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = ReceiptFile()
    kept.add(receipt(1))
    assert (kept.path, kept.newest, list(tmp_path.iterdir())) == (None, [receipt(1)], [])
    path = tmp_path / "node" / "receipts.jsonl"
    path.parent.mkdir()
    one = ReceiptFile(path)
    one.add(receipt(1))
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(StorageError, match="cannot write"):  # it would be added to the file
        one.add(receipt(2))
    assert [found.round for found in one.newest] == [1, 2]


def test_others_that_are_taken_for_the_owners_are_told_of_a_hundred() -> None:
    most = Figures.of(Recognised(10_000, 10_000, 9500, 10_000, 0.8), 10_000)
    told = "10,000 of your 10,000 words (95 of 100 others are taken for yours)"
    assert most.in_words("words") == told


def test_nobody_waits_for_the_disk_to_keep_a_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken before each update leaves, and nothing is decided by it."""
    waited: list[int] = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, waited.append)
    kept = ReceiptFile(tmp_path / "receipts.jsonl")
    for number in (1, 2, 3):
        kept.add(receipt(number))
    assert [one.round for one in read_receipts(tmp_path / "receipts.jsonl")] == [1, 2, 3]
    assert waited == []
