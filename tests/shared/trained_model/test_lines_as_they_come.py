"""Lines of standard input are answered as they come: none waits for others, none is lost."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import StorageError
from shared.trained_model.prediction import BATCH_ROWS, CHUNK_BYTES, lines_as_they_come


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for end in (read, write):
        with suppress(OSError):
            os.close(end)


def test_what_is_there_is_answered_before_more_comes(ends: tuple[int, int]) -> None:
    read, write = ends
    with os.fdopen(os.dup(read), "rb") as stream:
        lines = lines_as_they_come(stream)
        os.write(write, b"one\ntwo\n")
        assert next(lines) == ["one", "two"]
        os.write(write, b"three\r\nfo")
        assert next(lines) == ["three"]
        os.write(write, b"ur")
        os.close(write)
        assert list(chain.from_iterable(lines)) == ["four"]


def test_the_end_at_a_terminal_is_asked_for_once() -> None:
    terminal, typed_at = pty.openpty()
    try:
        with os.fdopen(os.dup(typed_at), "rb") as stream:
            # a second look at the end would wait for ever: nobody types any more
            os.write(terminal, b"win\n\x04")
            assert list(chain.from_iterable(lines_as_they_come(stream))) == ["win"]
    finally:
        os.close(terminal)
        os.close(typed_at)


def test_many_short_lines_come_in_batches(ends: tuple[int, int]) -> None:
    read, write = ends
    os.write(write, b"\n" * (2 * BATCH_ROWS + 7))
    os.close(write)
    with os.fdopen(os.dup(read), "rb") as stream:
        sizes = [len(some) for some in lines_as_they_come(stream)]
    assert sizes == [BATCH_ROWS, BATCH_ROWS, 7]


def test_an_error_comes_behind_what_was_read_before_it(
    ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write = ends
    os.write(write, b"one\ntwo\n")
    os.close(write)
    plain, reads = os.read, iter([4])

    def fails_later(file: int, size: int) -> bytes:
        number = next(reads, None)
        if number is None:
            raise OSError(5, "Input/output error")
        return plain(file, number)

    monkeypatch.setattr(os, "read", fails_later)
    with os.fdopen(os.dup(read), "rb") as stream:
        lines = lines_as_they_come(stream)
        assert next(lines) == ["one"]
        with pytest.raises(StorageError, match="standard input"):
            next(lines)


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=40))
def test_no_line_is_lost_or_changed(lines: list[bytes]) -> None:
    read, write = os.pipe()
    data = b"\n".join(lines)
    assert len(data) < CHUNK_BYTES
    os.write(write, data)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        found = list(chain.from_iterable(lines_as_they_come(stream)))
    wanted = [line.decode("utf-8", "replace") for line in data.split(b"\n")]
    if not wanted[-1]:
        wanted.pop()
    ended = len(wanted) if data.endswith(b"\n") else len(wanted) - 1
    assert found == [line.rstrip("\r") for line in wanted[:ended]] + wanted[ended:]
