"""A folder's lock: one at a time, and one clear error for who waits too long or cannot write."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from shared import locking
from shared.errors import StorageError
from shared.locking import LOCK_SECONDS, locked


def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    inside: list[str] = []
    entered, go = threading.Event(), threading.Event()

    def first() -> None:
        with locked(tmp_path, ".lock"):
            inside.append("first in")
            entered.set()
            assert go.wait(60)
            inside.append("first out")

    holder = threading.Thread(target=first)
    holder.start()
    assert entered.wait(60)
    waiter = threading.Thread(target=lambda: _enter(tmp_path, inside))
    waiter.start()
    with locked(tmp_path, ".another"):  # which is for something else
        assert inside == ["first in"]
    go.set()
    holder.join()
    waiter.join()
    assert inside == ["first in", "first out", "second in"]


def _enter(folder: Path, inside: list[str]) -> None:
    with locked(folder, ".lock"):
        inside.append("second in")


def test_who_waits_too_long_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert LOCK_SECONDS == 30.0
    monkeypatch.setattr(locking, "LOCK_SECONDS", 0.05)
    with (
        locked(tmp_path, ".lock"),
        pytest.raises(StorageError, match="another command has been writing there"),
        locked(tmp_path, ".lock"),
    ):
        raise AssertionError("two hold it")
    with locked(tmp_path, ".lock"):  # and it is free again
        pass


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match="cannot write to"),
        locked(tmp_path / "file", ".lock"),
    ):
        raise AssertionError("it holds it")
