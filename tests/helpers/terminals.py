"""Terminals for tests of pages: what one block defines, the next one there can call."""

from __future__ import annotations

import os
import pty
import re
import selectors
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.helpers.running import environment

BLOCK_SECONDS = 600.0
"""How long a block of a page may take; a whole training is in one."""

_SETTING = re.compile(r"(?:^|\s)([A-Z_]+)=")
_SOCKET = Path("/var/run/docker.sock")


@dataclass(frozen=True)
class Terminal:
    """Somebody's terminal on a machine of a test's.

    settings: what they gave the variables of the page's block of settings, and others they chose.
    """

    folder: Path
    settings: Mapping[str, str]

    def type(self, script: str) -> str:
        """Runs a block to its end, says yes to whatever asks, and returns what was written."""
        functions = self.folder / ".functions"
        before = f". {functions.name}\n" if functions.exists() else ""
        line = f"{before}{script}\ndeclare -f > {functions.name}\n"
        ours, theirs = pty.openpty()
        with os.fdopen(ours, "wb", buffering=0) as keyboard:
            process = subprocess.Popen(
                [*_as_caller(), "bash", "-euo", "pipefail", "-c", line],
                stdin=theirs,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=environment(**self.settings, DOCKER_CONFIG="."),
            )
            os.close(theirs)
            try:
                written = _answered(process, keyboard)
                process.wait(BLOCK_SECONDS)
            finally:
                process.kill()
                process.communicate()
        assert process.returncode == 0, f"in {self.folder}:\n{script}\n{written}"
        return written

    def check(self, block: str) -> None:
        """A page's block sets nothing that this terminal's settings leave out."""
        assert set(_SETTING.findall(block)) <= set(self.settings)


def _answered(process: subprocess.Popen[bytes], keyboard: IO[bytes]) -> str:
    """All that a process writes. Docker forgets what was typed before it asks, so nothing is."""
    assert process.stdout is not None
    written = b""
    answered = 0
    deadline = time.monotonic() + BLOCK_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(deadline - time.monotonic()):
            part = os.read(process.stdout.fileno(), 65536)
            if not part:
                return written.decode()
            written += part
            if written.count(b"[y/N]") > answered:
                answered += 1
                keyboard.write(b"y\n")
    raise AssertionError(f"it takes too long:\n{written.decode()}")


CALLER = 1234
"""Who types where the tests run as root: pages are for users who are not."""


def _as_caller() -> list[str]:
    if os.geteuid() != 0 or not _SOCKET.exists():
        return []
    group = _SOCKET.stat().st_gid
    return ["setpriv", "--reuid", str(CALLER), "--regid", str(group), "--clear-groups"]


def give_to_caller(folder: Path) -> None:
    """A folder, and all in it, belongs to whoever types; where the tests run as root."""
    if not _as_caller():
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, CALLER, _SOCKET.stat().st_gid, follow_symlinks=False)
