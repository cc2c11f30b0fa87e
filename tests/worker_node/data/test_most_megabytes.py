"""Large files of messages: how an owner raises the limit, and what is shown while one is read."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import DataError
from tests.helpers.running import Finished

LINES = "ham\tsee you at the station\nspam\twin a prize, call now\n"
ROWS = 2**21 // len(LINES) + 1


def plain(folder: Path) -> Path:
    path = folder / "messages.tsv"
    path.write_text(LINES * ROWS, encoding="utf-8")
    return path


def packed(folder: Path) -> Path:
    path = folder / "messages.tsv.gz"
    path.write_bytes(gzip.compress((LINES * ROWS).encode()))
    assert path.stat().st_size < 2**20  # what is bounded is what comes out of it
    return path


def many_files(folder: Path) -> Path:
    for label in ("ham", "spam"):
        (folder / "shard" / label).mkdir(parents=True)
        for number in range(3):
            text = f"{label} {number} " * 2**16
            (folder / "shard" / label / f"{number}.txt").write_text(text[: 2**19], "utf-8")
    return folder / "shard"


@pytest.mark.parametrize("make", [plain, packed, many_files])
def test_what_is_above_the_limit_is_read_once_the_owner_raises_it(
    make: Callable[[Path], Path], tmp_path: Path, cli: Callable[..., Finished]
) -> None:
    flags = ("check", "--data", make(tmp_path), "--held-out", 0.2)
    done = cli("worker_node", *flags, "--most-megabytes", 1)
    assert done.code == DataError.exit_code
    for words in ("is too large", "1,048,576", "--most-megabytes"):
        assert words in done.err
    done = cli("worker_node", *flags, "--most-megabytes", 4)
    assert done.code == 0, done.err
    assert cli("worker_node", *flags).code == 0


def test_the_limit_of_labels_is_that_of_the_messages(
    tmp_path: Path, cli: Callable[..., Finished]
) -> None:
    backup = tmp_path / "sms.xml"
    backup.write_text('<smses><sms date="1" type="1" body="hi" /></smses>', "utf-8")
    labels = plain(tmp_path)
    done = cli("worker_node", "check", "--data", backup, "--labels", labels, "--most-megabytes", 1)
    assert f"{labels} is too large" in done.err


def test_a_terminal_is_told_how_far_the_reading_is_and_a_log_is_not(
    tmp_path: Path, cli: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = plain(tmp_path)
    flags = ("check", "--data", path)
    assert "reads messages:" not in cli("worker_node", *flags).err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    told = cli("worker_node", *flags).err
    assert told.rpartition("rows")[2].startswith("\r\x1b[K")  # what is said next begins its line
    assert re.findall(r"\r\x1b\[Kreads messages: ([0-9,]+) rows", told) == [
        f"{rows:,}" for rows in range(10_000, 2 * ROWS + 1, 10_000)
    ]
