"""A node that is told to stop ends with 0, whatever it was at: starting, ready, or ending."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.conftest import OwnerFiles
from tests.helpers.running import finish, start, until

pytestmark = pytest.mark.timeout(120)


def has_handler(pid: int) -> bool:
    """Whether the process takes SIGTERM itself."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1))


@pytest.mark.parametrize("mapped", [0, 60, 150, 300])
def test_a_node_that_has_hardly_begun_ends_with_0(
    owners: list[OwnerFiles], mapped: int, tmp_path: Path
) -> None:
    """A little later each time: amid its imports, which map more and more files."""
    flags = ("serve", "--id", "bob", *owners[1].flags, "--port", 0)
    process = start("worker_node", *flags, cwd=tmp_path)
    maps = Path(f"/proc/{process.pid}/maps")
    until(lambda: has_handler(process.pid), "its own handler", every=0.001)
    until(lambda: maps.read_text(encoding="utf-8").count("\n") >= mapped, "imports", every=0.001)
    process.send_signal(signal.SIGTERM)
    done = finish(process)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err


def test_a_node_that_is_ready_ends_with_0(owners: list[OwnerFiles], tmp_path: Path) -> None:
    flags = ("serve", "--id", "bob", *owners[1].flags, "--port", 0)
    process = start("worker_node", *flags, cwd=tmp_path)
    assert process.stdout is not None
    assert "ws://" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    done = finish(process)
    assert done.code == 0, done.err


def test_a_stop_after_an_error_is_no_death_by_a_signal(tmp_path: Path) -> None:
    process = start("worker_node", "serve", "--data", tmp_path / "missing.tsv", cwd=tmp_path)
    assert process.stderr is not None
    while "error: " not in (line := process.stderr.readline()):
        assert line, "it ended without an error"
    process.send_signal(signal.SIGTERM)
    assert finish(process).code in (0, 2)  # 2: as the error has it
