"""docs/two-machines.md, tried literally: each host has its own network, folder and checkout."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.hosts import Host, hosts, why_no_hosts
from tests.helpers.messages import made_up, write_tsv
from tests.helpers.needed import lacking
from tests.helpers.pages import Block, Carry, steps
from tests.helpers.running import PATIENCE_SECONDS, ROOT, until

ADDRESSES = {"coordinator": "10.0.0.5", "bob": "10.0.0.7", "anne": "10.0.0.8"}
OWNERS = ("bob", "anne")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[dict[str, Host]]:
    """Three hosts, each with fedsms, and messages where their owners are."""
    why_not = why_no_hosts()
    if why_not:
        lacking("namespaces", why_not)
    if not (ROOT / ".venv" / "installed").is_dir():
        lacking("setup", "the environment of ./scripts/setup is not there")
    with hosts(ADDRESSES, tmp_path) as found:
        for host in found.values():
            check_out(host.folder)
        for seed, owner in enumerate(OWNERS):
            write_tsv(found[owner].folder / "messages.tsv", made_up(150, seed=seed))
        yield found


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
        self._undo = undo
        self._serving: set[str] = set()

    def follow(self, page: Path) -> None:
        for step in steps(page):
            if isinstance(step, Carry):
                (source, path), (target, copy) = step.source, step.target
                shutil.copy(
                    self.machines[source].folder / path, self.machines[target].folder / copy
                )
            else:
                names = self.machines if step.host == "everywhere" else [step.host]
                for name in names:
                    self._type(self.machines[name], step)

    def _type(self, host: Host, block: Block) -> None:
        before, serve, _ = block.script.partition("python -m worker_node serve")
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

    def _serve(self, host: Host, script: str) -> None:
        log = host.folder / "serve.log"
        with log.open("w") as out:
            process = host.start(
                activated(script),
                stdin=subprocess.DEVNULL,
                stdout=out.fileno(),
                stderr=subprocess.STDOUT,
            )
        self._undo.callback(end, process)
        until(
            lambda: "is ready" in log.read_text() or process.poll() is not None,
            f"the node of {host.name}",
        )
        assert process.poll() is None, log.read_text()


def activated(script: str) -> str:
    return f"if [ -e .venv/bin/activate ]; then . .venv/bin/activate; fi\n{script}"


def end(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(PATIENCE_SECONDS)


def test_a_stranger_who_follows_the_page_trains_across_machines(
    machines: dict[str, Host],
) -> None:
    coordinator = machines["coordinator"]
    with ExitStack() as undo:
        reader = Reader(machines, undo)
        reader.follow(ROOT / "docs" / "two-machines.md")
        assert any("AUC %" in written for written in reader.written)
        (folder,) = filter(Path.is_dir, (coordinator.folder / "runs").iterdir())
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        assert summary["status"] == "completed"
        # the page ends with bob revoked: he is refused by name, and anne still answers
        after = coordinator.start(
            activated("python -m server status --json"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = after.communicate(timeout=PATIENCE_SECONDS)
    assert after.returncode == 5
    assert {node["node"]: node["answers"] for node in json.loads(out)} == {
        "anne": True,
        "bob": False,
    }
    assert "revoked" in err
    secrets = [machines[owner].folder / "identity" / "key.pem" for owner in OWNERS]
    keys = [path.read_text(encoding="utf-8").splitlines()[1] for path in secrets]
    for path in coordinator.folder.rglob("*"):
        if path.is_file() and ".venv" not in path.parts:
            assert not any(key.encode() in path.read_bytes() for key in keys), path
