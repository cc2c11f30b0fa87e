"""Questions at a terminal of this process: what is a yes, what came before, and who is asked."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.federating import until
from tests.helpers.running import ROOT, environment
from tests.helpers.running import until as now_until
from worker_node.guarding.owner_prompt import Terminal


class Keyboard:
    """The owner's side of the terminal; what was shown to him since the last look."""

    def __init__(self, number: int, shown: Callable[[], str]) -> None:
        self._number = number
        self._shown = shown
        self.read = ""

    def type(self, text: bytes) -> None:
        os.write(self._number, text)

    def hang_up(self) -> None:
        """Safe to call more than once."""
        if self._number >= 0:
            os.close(self._number)
        self._number = -1

    async def reads(self, text: str, asked: asyncio.Task[bool]) -> None:
        """Waits until it stands there; no longer than a question waits."""

        def there() -> bool:
            is_over = asked.done()
            self.read += self._shown()
            return text in self.read or is_over

        await until(there, text)
        assert text in self.read


@pytest.fixture
def keyboard(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Keyboard]:
    """Of the terminal that is this process's standard input."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        found = Keyboard(ours, lambda: capsys.readouterr().err)
        yield found
    found.hang_up()


def answered(keyboard: Keyboard, typed: bytes) -> bool:
    async def scene() -> bool:
        asked = asyncio.create_task(Terminal().ask("May anne train?"))
        await keyboard.reads("[y/N]", asked)
        keyboard.type(typed)
        return await asked

    return asyncio.run(scene())


@pytest.mark.parametrize("typed", ["y", "Y", "yes", "YES", "  Yes ", "y\t"])
def test_a_yes_is_one_however_it_is_written(keyboard: Keyboard, typed: str) -> None:
    assert answered(keyboard, f"{typed}\n".encode())
    assert keyboard.read == "May anne train? [y/N] "


@pytest.mark.parametrize("typed", [b"", b"n", b"ye", b"yep", b"yes no", b"\xff", b"j"])
def test_all_else_is_a_no(keyboard: Keyboard, typed: bytes) -> None:
    assert not answered(keyboard, typed + b"\n")


def test_the_end_of_what_is_typed_is_a_no(keyboard: Keyboard) -> None:
    assert not answered(keyboard, b"\x04")


def test_a_terminal_that_goes_away_says_no(keyboard: Keyboard) -> None:
    async def scene() -> bool:
        asked = asyncio.create_task(Terminal().ask("May anne train?"))
        await keyboard.reads("[y/N]", asked)
        keyboard.hang_up()
        return await asked

    assert not asyncio.run(scene())


def test_what_was_typed_before_a_question_is_no_answer_to_it(keyboard: Keyboard) -> None:
    keyboard.type(b"y\n")
    assert not answered(keyboard, b"n\n")


def test_silence_is_a_no_that_the_owner_is_told_of(keyboard: Keyboard) -> None:
    async def scene() -> None:
        asked = asyncio.create_task(Terminal(answer_seconds=0.01).ask("May anne train?"))
        await keyboard.reads("a no\n", asked)
        assert await asked is False

    asyncio.run(scene())
    assert keyboard.read == "May anne train? [y/N] \nno answer; that is a no\n"


def test_a_question_that_is_withdrawn_is_told_and_takes_no_answer(keyboard: Keyboard) -> None:
    async def scene() -> None:
        terminal = Terminal()
        asked = asyncio.create_task(terminal.ask("May anne train?"))
        await keyboard.reads("[y/N]", asked)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await keyboard.reads("no longer asked\n", asked)
        assert keyboard.read == "May anne train? [y/N] \nno longer asked\n"
        assert not asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        following = asyncio.create_task(terminal.ask("And bob?"))
        await keyboard.reads("And bob?", following)
        keyboard.type(b"y\n")
        assert await following
        assert not asyncio.get_running_loop().remove_reader(sys.stdin.fileno())

    asyncio.run(scene())


def test_questions_are_asked_one_after_the_other(keyboard: Keyboard) -> None:
    async def scene() -> None:
        terminal = Terminal()
        first = asyncio.create_task(terminal.ask("May anne train?"))
        await keyboard.reads("May anne", first)
        second = asyncio.create_task(terminal.ask("May bob train?"))
        for _ in range(10):
            await asyncio.sleep(0)
        keyboard.type(b"y\n")
        assert await first
        assert "bob" not in keyboard.read
        await keyboard.reads("May bob", second)
        keyboard.type(b"n\n")
        assert not await second

    asyncio.run(scene())


@pytest.mark.parametrize("kind", ["none", "no terminal"])
def test_where_there_is_no_terminal_nobody_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    monkeypatch.setattr(sys, "stdin", None if kind == "none" else io.StringIO("y\n"))
    assert Terminal().is_there is False
    assert asyncio.run(Terminal().ask("May anne train?")) is False
    assert capsys.readouterr().err == ""


def test_a_terminal_in_nobodys_background_is_there(keyboard: Keyboard) -> None:
    assert Terminal().is_there is True


MOVED = """
import asyncio, os, signal, sys
from worker_node.guarding.owner_prompt import Terminal

signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = os.fork()
if not child:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpgrp())
    print(asyncio.run(Terminal().ask("May anne train?")), flush=True)
    os._exit(0)
assert os.read(int(sys.argv[1]), 1)
os.tcsetpgrp(0, os.getpgrp())
print("moved", flush=True)
_, status = os.waitpid(child, os.WUNTRACED)
if os.WIFSTOPPED(status):
    os.kill(child, signal.SIGKILL)
print("stopped" if os.WIFSTOPPED(status) else "ended", flush=True)
"""
"""A job that asks in the foreground, and is put into the background when its shell is told to."""


def test_a_question_whose_job_was_put_into_the_background_is_a_no_and_stops_no_process(
    tmp_path: Path,
) -> None:
    """The system would stop whoever reads from the terminal then."""
    ours, theirs = pty.openpty()
    told, tell = os.pipe()
    screen = tmp_path / "screen"
    with screen.open("wb") as written:
        shell = subprocess.Popen(
            [sys.executable, "-c", MOVED, str(told)],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=written,
            cwd=ROOT,
            env=environment(PYTHONUNBUFFERED=""),  # a question has no line's end that writes it out
            pass_fds=[told],
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
    os.close(theirs)
    os.close(told)
    try:
        now_until(lambda: b"[y/N]" in screen.read_bytes(), "the question")
        os.write(tell, b"x")
        assert shell.stdout is not None
        assert shell.stdout.readline() == b"moved\n"
        os.write(ours, b"y\n")
        assert shell.stdout.read().split() == [b"False", b"ended"]
    finally:
        os.close(tell)
        shell.kill()
        shell.communicate()
        os.close(ours)
