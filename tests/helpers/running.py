"""Commands run as a user runs them, and waiting for what they do; for tests."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from server.nodes.status import ask_all
from shared.wire.handshake import Greeting
from tests.helpers.forked import popen

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0
"""How long a test waits for what must happen; only a broken program makes it wait that long."""


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


def refused(done: Finished, *words: str, code: int = 8) -> None:
    """One error with these words, and nothing else that could be taken for success."""
    assert done.code == code, done
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.count("error: ") == 1
    for word in words:
        assert word in done.err, done.err


def done_well(done: Finished) -> str:
    assert done.code == 0, done.err
    return done.out


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without what would steer fedsms, plus `extra`."""
    steering = ("FEDSMS_", "SMS_DATA", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    return {**kept, "PYTHONPATH": str(ROOT), **extra}


def start(
    module: str,
    *arguments: object,
    cwd: Path,
    stdin: int = subprocess.DEVNULL,
    **extra: str,
) -> subprocess.Popen[str]:
    """Starts `python -m module arguments` in a folder of the test's."""
    return popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(**extra),
    )


def finish(process: subprocess.Popen[str]) -> Finished:
    """Waits for the end of a process that `start` started."""
    try:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    return Finished(process.returncode, out, err)


def run(
    module: str,
    *arguments: object,
    cwd: Path,
    stdin: str | bytes = "",
    seconds: float = PATIENCE_SECONDS,
    **extra: str,
) -> Finished:
    """Runs `python -m module arguments` in a folder of the test's."""
    line = ("-m", module, *arguments)
    return run_python(*line, cwd=cwd, stdin=stdin, seconds=seconds, **extra)


def run_python(
    *arguments: object,
    cwd: Path = ROOT,
    stdin: str | bytes = "",
    seconds: float | None = None,
    **extra: str,
) -> Finished:
    """Runs `python arguments`; without `seconds` the test's own limit holds."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    with popen(
        [sys.executable, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment(**extra),
    ) as process:
        try:
            out, err = process.communicate(data, seconds)
        except BaseException:
            process.kill()
            raise
    return Finished(process.returncode, out.decode(), err.decode())


def until(
    happened: Callable[[], object],
    what: str,
    seconds: float = PATIENCE_SECONDS,
    every: float = 0.02,
) -> None:
    """Polls until something has happened, with a pause of `every` seconds between two looks."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(every)


def greeting_of(node_id: str, url: str) -> Greeting:
    """What a node says of itself now."""

    async def ask() -> Greeting:
        link = await dial(NodeAddress(node_id, url))
        await link.close()
        return link.greeting

    return asyncio.run(ask())


def answers(node_id: str, url: str) -> bool:
    (status,) = asyncio.run(ask_all([NodeAddress(node_id, url)]))
    return status.error is None


def is_alive(pid: int) -> bool:
    """True while a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in ("Z", "X")


def children_of(pid: int) -> list[int]:
    """Process ids of a process's children."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for one in threads for child in (one / "children").read_text().split()]
