"""Somebody who follows a page of docs/ word by word, on hosts that a test made."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests.helpers.hosts import Host
from tests.helpers.pages import Block, Carry, steps
from tests.helpers.running import PATIENCE_SECONDS, ROOT, until

START_SECONDS = 180.0
"""For a node to load torch, on a machine with other work."""
SERVE = "python -m worker_node serve"


def check_out(folder: Path) -> None:
    """The project as git would deliver it, with the environment that is there already."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")


class Reader:
    """Somebody who follows the page: types each block, and sends each file."""

    def __init__(self, machines: dict[str, Host], undo: ExitStack) -> None:
        self.machines = machines
        self.written: list[str] = []
        self.begun: dict[str, subprocess.Popen[str]] = {}
        self._undo = undo
        self._serving: set[str] = set()

    def follow(self, page: Path) -> None:
        for step in steps(page):
            if isinstance(step, Carry):
                (source, path), (target, copy) = step.source, step.target
                shutil.copy(
                    self.machines[source].folder / path, self.machines[target].folder / copy
                )
            elif step.is_background:
                self.begin(self.machines[step.host], step.script)
            else:
                names = self.machines if step.host == "everywhere" else [step.host]
                for name in names:
                    self._type(self.machines[name], step)

    def _type(self, host: Host, block: Block) -> None:
        before, serve, _ = block.script.partition(SERVE)
        self._run(host, before if serve else block.script)
        if serve:
            self._serve(host, serve + block.script.partition(serve)[2])

    def _run(self, host: Host, script: str) -> None:
        """On a terminal that says yes to whatever asks."""
        ours, theirs = pty.openpty()
        with os.fdopen(ours, "wb", buffering=0) as keyboard:
            keyboard.write(b"y\n" * 4)
            process = host.start(
                activated(script), stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            os.close(theirs)
            written, _ = process.communicate(timeout=2 * PATIENCE_SECONDS)
        assert process.returncode == 0, f"on {host.name}:\n{script}\n{written}"
        self.written.append(written)

    def begin(self, host: Host, script: str, log: str = "background.log") -> subprocess.Popen[str]:
        """Types something that goes on while the page does; what it writes is in a file."""
        with (host.folder / log).open("w") as out:
            process = host.start(
                activated(script),
                stdin=subprocess.DEVNULL,
                stdout=out.fileno(),
                stderr=subprocess.STDOUT,
            )
        self._undo.callback(end, process)
        self.begun[host.name] = process
        return process

    def _serve(self, host: Host, script: str) -> None:
        log = host.folder / "serve.log"
        process = self.begin(host, script, log.name)
        until(
            lambda: "is ready" in log.read_text() or process.poll() is not None,
            f"the node of {host.name}",
            START_SECONDS,
        )
        assert process.poll() is None, log.read_text()


def activated(script: str) -> str:
    return f"if [ -e .venv/bin/activate ]; then . .venv/bin/activate; fi\n{script}"


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    process.wait(PATIENCE_SECONDS)
