"""Files in memory hold what was written, in whatever pieces, and nobody changes a finished one."""

from __future__ import annotations

import io
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.reading import memory_file
from shared.reading.memory_file import MemoryFile

needs_memfd = pytest.mark.skipif(sys.platform != "linux", reason="files in memory are Linux's")
PARTS = st.lists(st.binary(max_size=9), max_size=12)


def written(parts: list[bytes], piece: int) -> MemoryFile:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_file, "PIECE", piece)
        file = MemoryFile()
        for part in parts:
            file.write(part)
    return file


@given(PARTS, st.integers(1, 12), st.booleans(), st.integers(0, 120), st.integers(0, 120))
def test_a_file_holds_what_was_written(
    parts: list[bytes], piece: int, finished: bool, start: int, end: int
) -> None:
    file, whole = written(parts, piece), b"".join(parts)
    if finished:
        file.finished()
    assert len(file) == len(whole)
    assert file.read(start, end) == whole[start:end]
    assert b"".join(file.pieces()) == whole
    opened, like = file.opened(), io.BytesIO(whole)
    for place, whence in ((start, os.SEEK_SET), (0, os.SEEK_END), (0, os.SEEK_SET)):
        assert opened.seek(place, whence) == like.seek(place, whence)
        assert opened.read(3) == like.read(3)
    assert list(opened) == list(like)


@needs_memfd
@given(PARTS.filter(any))
def test_another_process_reads_a_finished_file_and_nobody_changes_it(parts: list[bytes]) -> None:
    file, whole = written(parts, 1), b"".join(parts)
    descriptor = file.finished()
    assert descriptor is not None
    assert file.finished() == descriptor
    assert MemoryFile.of_descriptor(os.dup(descriptor)).read(0, 2**10) == whole
    with pytest.raises(PermissionError):
        os.pwrite(descriptor, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)
    with pytest.raises(ValueError, match="finished"):
        file.write(b"x")


@needs_memfd
def test_a_file_is_closed_with_its_object() -> None:
    descriptor = written([b"abc"], 1).finished()
    assert descriptor is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_system_without_such_files_keeps_the_bytes_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    file = written([b"abc", b"def"], 2)
    assert file.read(1, 5) == b"bcde"
    assert file.finished() is None
