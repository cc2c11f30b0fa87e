"""Files that are written whole or not at all, and read within bounds."""

from __future__ import annotations

import os
import socket
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from shared.errors import StorageError, UsageError
from shared.files import (
    SMALL_FILE,
    UnfitFile,
    append_lines,
    is_present,
    make_folder,
    open_regular,
    read_bytes,
    read_toml,
    storage_error,
    write_whole,
)


def test_a_file_is_replaced_by_another_and_never_written_over(tmp_path: Path) -> None:
    """Who has opened the old one goes on reading it whole."""
    path = tmp_path / "file"
    write_whole(path, b"old")
    before = path.stat().st_ino
    with path.open("rb") as reader:
        write_whole(path, b"new and longer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new and longer"
    assert path.stat().st_ino != before
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_another_name_of_the_file_keeps_the_old_content(tmp_path: Path) -> None:
    path, linked = tmp_path / "file", tmp_path / "linked"
    write_whole(path, b"old")
    linked.hardlink_to(path)
    write_whole(path, b"new")
    assert (path.read_bytes(), linked.read_bytes()) == (b"new", b"old")


class Steps:
    """The order in which the system is asked to write, sync and rename."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: str = "") -> None:
        self.seen: list[str] = []
        self.modes: list[int] = []
        self.synced_bytes: list[int] = []
        self._failing = failing
        sync, replace, chmod = os.fsync, Path.replace, Path.chmod

        def fsync(file: int) -> None:
            kind = "folder" if os.path.isdir(f"/proc/self/fd/{file}") else "file"  # noqa: PTH112
            self._step(f"sync {kind}")
            if kind == "file":
                self.synced_bytes.append(os.fstat(file).st_size)
            sync(file)

        def replaced(path: Path, target: Path) -> Path:
            self._step("rename")
            self.modes.append(path.stat().st_mode & 0o777)
            return replace(path, target)

        def changed(path: Path, mode: int) -> None:
            self.modes.append(path.stat().st_mode & 0o777)
            self._step("chmod")
            chmod(path, mode)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", replaced)
        monkeypatch.setattr(Path, "chmod", changed)

    def _step(self, name: str) -> None:
        self.seen.append(name)
        if name == self._failing:
            raise OSError(28, "no space left on device")


def test_what_is_durable_is_synced_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(monkeypatch)
    write_whole(tmp_path / "file", b"data")
    assert steps.seen == ["sync file", "chmod", "rename", "sync folder"]
    assert steps.synced_bytes == [4]  # all of it was there to be synced
    steps.seen.clear()
    write_whole(tmp_path / "file", b"data", durable=False)
    assert steps.seen == ["chmod", "rename"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400])
def test_nobody_ever_sees_a_file_with_wider_permissions_than_it_ends_with(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0)
    try:
        steps = Steps(monkeypatch)
        write_whole(tmp_path / "file", b"data", mode)
    finally:
        os.umask(before)
    assert steps.modes[0] & ~0o600 == 0
    assert steps.modes[1] == mode
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_a_file_is_readable_by_all_where_nothing_else_is_said(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"data")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("failing", ["sync file", "chmod", "rename"])
def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    with monkeypatch.context() as broken:
        Steps(broken, failing)
        with pytest.raises(StorageError, match="cannot write"):
            write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_is_interrupted_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_lines_are_appended_whole_and_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lines"
    steps = Steps(monkeypatch)
    append_lines(path, ["one", "zwei ä"])
    append_lines(path, ["three"])
    assert path.read_bytes() == "one\nzwei ä\nthree\n".encode()
    assert steps.seen == ["sync file", "sync file"]
    assert steps.synced_bytes == [len("one\nzwei ä\n".encode()), path.stat().st_size]
    with pytest.raises(StorageError, match="cannot write"):
        append_lines(tmp_path / "nowhere" / "lines", ["one"])


def test_a_file_is_read_up_to_its_bound_and_not_a_byte_further(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert read_bytes(path, 10) == b"x" * 10
    with pytest.raises(UnfitFile, match="larger than 9 bytes"):
        read_bytes(path, 9)
    with path.open("wb") as file:
        file.truncate(2**20)
    assert len(read_bytes(path)) == 2**20 == SMALL_FILE
    with path.open("wb") as file:
        file.truncate(2**20 + 1)
    with pytest.raises(UnfitFile, match="larger than 1,048,576 bytes"):
        read_bytes(path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device"])
def test_what_is_no_regular_file_is_not_waited_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    with pytest.raises(StorageError) as refused:
        read_bytes(path)
    assert "cannot read" in str(refused.value)
    assert isinstance(refused.value, UnfitFile) or kind == "socket"


def test_the_null_device_is_an_empty_file(tmp_path: Path) -> None:
    assert read_bytes(Path(os.devnull)) == b""
    with open_regular(Path(os.devnull)) as file:
        assert file.read() == b""


def test_a_file_that_is_read_is_not_handed_to_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with open_regular(path) as file:
        assert not os.get_inheritable(file.fileno())


def test_an_error_says_what_to_do_about_reading_or_about_writing() -> None:
    full = OSError(28, "no space left on device")
    assert "space left" not in storage_error("read", Path("x"), full).next_step
    assert "space left" in storage_error("write", Path("x"), full).next_step
    assert "No space left" in storage_error("write", Path("x"), full).cause


def test_a_file_that_a_crash_left_half_written_is_hidden_and_named_after_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    monkeypatch.setattr(Path, "replace", lambda path, target: names.append(path.name))
    write_whole(tmp_path / "model", b"data")
    assert names[0].startswith(".model.")
    assert [one.name for one in tmp_path.iterdir()] == names


def test_a_missing_file_is_an_error_that_says_which(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot read .*missing"):
        read_bytes(tmp_path / "missing")


def test_a_link_that_leads_nowhere_is_present_and_a_missing_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert is_present(tmp_path / "link")
    assert not is_present(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        is_present(tmp_path / "file" / "below")


def test_folders_are_made_with_those_above_them_where_that_is_wanted(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "c", parents=False)
    with pytest.raises(StorageError, match="cannot make the folder"):
        make_folder(tmp_path / "x" / "y", parents=False)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot make the folder"):
        make_folder(tmp_path / "file")


def test_a_table_is_toml_in_utf_8_also_after_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "table.toml"
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + 'a = "ä"\n'.encode())
        assert read_toml(path, "the table", "Look.") == {"a": "ä"}
    for data in (b"a = ", b'a = "\xff"\n'):
        path.write_bytes(data)
        with pytest.raises(UsageError, match=r"the table .* is not TOML"):
            read_toml(path, "the table", "Look.")
    with pytest.raises(UsageError, match="cannot read the table"):
        read_toml(tmp_path / "missing.toml", "the table", "Look.")


def test_a_file_that_says_it_is_empty_is_read_within_bounds_too() -> None:
    """As those of /proc do, or one that grows meanwhile."""
    path = Path("/proc/self/status")
    assert path.stat().st_size == 0
    assert read_bytes(path).startswith(b"Name:")
    with pytest.raises(UnfitFile, match="larger than 10 bytes"):
        read_bytes(path, 10)


def test_a_file_that_is_too_large_by_its_size_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(2**40)
    tracemalloc.start()
    try:
        with pytest.raises(UnfitFile):
            read_bytes(path, 2**26)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom", "/dev/full"])
def test_no_device_but_the_null_device_is_read(device: str) -> None:
    with pytest.raises(UnfitFile, match="not a regular file"):
        read_bytes(Path(device))


def test_what_was_opened_is_closed_and_a_missing_file_is_not_there(tmp_path: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        write_whole(tmp_path / "file", b"content")
        with pytest.raises(UnfitFile):
            read_bytes(tmp_path)
        append_lines(tmp_path / "lines", ["Gr\u00fc\u00dfe"])
    assert set(Path("/proc/self/fd").iterdir()) == before
    assert (tmp_path / "lines").read_bytes().count("Gr\u00fc\u00dfe\n".encode()) == 3
    assert is_present(tmp_path / "missing") is False
