"""An owner's folder of messages: which of its files are taken, and what is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import DataError
from worker_node.data.folder import owner_files


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    held_out = tmp_path / "other.csv"
    assert owner_files(tmp_path / "any.txt", held_out) == (tmp_path / "any.txt", held_out)


@pytest.mark.parametrize("ending", [".tsv", ".csv", ".jsonl", ".txt"])
def test_a_folders_messages_are_found_whatever_their_format(tmp_path: Path, ending: str) -> None:
    fill(tmp_path, f"messages{ending}", "notes.md", "split.json", "old-messages.tsv")
    assert owner_files(tmp_path, None) == (tmp_path / f"messages{ending}", None)


def test_a_folders_held_out_messages_are_measured_with_unless_others_are_named(
    tmp_path: Path,
) -> None:
    fill(tmp_path, "messages.tsv", "held-out.csv")
    assert owner_files(tmp_path, None) == (tmp_path / "messages.tsv", tmp_path / "held-out.csv")
    named = tmp_path / "elsewhere.tsv"
    assert owner_files(tmp_path, named) == (tmp_path / "messages.tsv", named)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ((), "there are no messages"),
        (("held-out.tsv", "texts.tsv"), "there are no messages"),
        (("messages.tsv", "messages.csv"), "more than one file called messages"),
        (("messages.tsv", "held-out.tsv", "held-out.csv"), "more than one file called held-out"),
    ],
)
def test_an_unclear_folder_is_an_error(
    tmp_path: Path, names: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        owner_files(fill(tmp_path, *names), None)
