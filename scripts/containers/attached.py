"""A container as a command of ours: its output, its exit code, and our signals passed on."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TextIO

from docker.errors import APIError
from docker.models.containers import Container

from scripts.containers.confinement import MEMORY
from shared.errors import FedsmsError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_attached(container: Container, what: str) -> int:
    """Starts a container and waits for its end; its output is ours.

    Ctrl-C (or SIGTERM) reaches it as Ctrl-C, and it ends in order; a second one ends it at once.

    Returns:
        Its exit code.

    Raises:
        FedsmsError: `what` ran out of memory.
    """
    output = container.attach(stream=True, demux=True)
    container.start()
    with _passing_signals(container):
        for out, err in output:
            _write(sys.stdout, out)
            _write(sys.stderr, err)
        code: int = container.wait()["StatusCode"]
    container.reload()
    if container.attrs["State"]["OOMKilled"]:
        raise FedsmsError(f"{what} ran out of memory", f"it may take {MEMORY}")
    return code


def _write(stream: TextIO, content: bytes | None) -> None:
    if content:
        stream.buffer.write(content)
        stream.flush()


@contextmanager
def _passing_signals(container: Container) -> Iterator[None]:
    """Signals to this process go to the container as Ctrl-C; the second one kills it."""
    came: list[int] = []

    def send(name: str) -> None:
        with suppress(APIError):  # it has just ended
            container.kill(name)

    def passed(number: int, _: FrameType | None) -> None:
        came.append(number)
        name = "SIGINT" if len(came) == 1 else "SIGKILL"
        # in a thread: the client may be in the middle of a request in this one
        threading.Thread(target=send, args=(name,)).start()

    before = [signal.signal(number, passed) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
