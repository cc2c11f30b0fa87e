"""An older version of this project, from its own history: what it leaves, today's goes on with."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from tests.helpers.needed import lacking
from tests.helpers.running import PATIENCE_SECONDS, ROOT, Finished, environment

BEFORE_THIS_WAVE = "efe7455a6d9d53bea009b0dcd59e6064f58c2a6c"
"""2026-11-23: protocol 1, before invitations, secure sums, private runs and reports."""


@dataclass(frozen=True)
class Version:
    """One version's code. Its commands run in a folder of the test's."""

    root: Path

    def start(self, module: str, *arguments: object, cwd: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={**environment(), "PYTHONPATH": str(self.root)},
        )

    def run(self, module: str, *arguments: object, cwd: Path) -> Finished:
        process = self.start(module, *arguments, cwd=cwd)
        try:
            out, err = process.communicate(timeout=2 * PATIENCE_SECONDS)
        finally:
            process.kill()
        return Finished(process.returncode, out, err)

    @contextmanager
    def nodes(self, folders: list[Path]) -> Iterator[list[str]]:
        """Nodes with what lies in their folders; gives the flags that name them."""
        started = []
        try:
            for folder in folders:
                flags = ("--data", "messages.tsv", "--port", 0, "--json", "--id", folder.name)
                started.append(self.start("worker_node", "serve", *flags, cwd=folder))
            flags_of_all: list[str] = []
            for folder, node in zip(folders, started, strict=True):
                assert node.stdout is not None
                told = node.stdout.readline()
                assert told, node.communicate(timeout=PATIENCE_SECONDS)[1]
                flags_of_all += ["--node", f"{folder.name}={json.loads(told)['url']}"]
            yield flags_of_all
        finally:
            for node in started:
                node.terminate()
            for node in started:
                node.communicate(timeout=PATIENCE_SECONDS)


def today() -> Version:
    return Version(ROOT)


def unpacked(commit: str, folder: Path) -> Version:
    """Skips the test where the history is not here, in an unpacked archive for instance."""
    line = ["git", "archive", "--format=tar", commit, "server", "worker_node", "shared"]
    try:
        made = subprocess.run(line, cwd=ROOT, capture_output=True, check=False)
    except OSError as error:
        lacking("history", f"there is no git: {error}")
    if made.returncode:
        lacking("history", f"git has no {commit[:7]} here: {made.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(made.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return Version(folder)
