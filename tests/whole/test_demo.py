"""The demo, from nothing to a trained model; and that no process outlives it, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.messages import made_up, write_tsv
from tests.helpers.running import PATIENCE_SECONDS, ROOT, Finished, environment, until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tsv(tmp_path / "messages.tsv", made_up(200))


def start_demo(folder: Path, data: Path, recipe: Path, *more: str) -> subprocess.Popen[str]:
    """Starts the demo with a folder of its own for scratch, by which its processes are known."""
    (folder / "scratch").mkdir()
    flags = ["--data", str(data), "--recipe", str(recipe), "--run-dir", str(folder / "runs"), *more]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "local" / "demo.py"), *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment(TMPDIR=str(folder / "scratch")),
        start_new_session=True,
    )


def end_of(process: subprocess.Popen[str]) -> Finished:
    out, err = process.communicate(timeout=2 * PATIENCE_SECONDS)
    return Finished(process.returncode, out, err)


def left_behind(folder: Path) -> list[str]:
    """Command lines of the processes that a demo in this folder has started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={folder / 'scratch'}" in (process / "environ").read_text(errors="replace"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def test_the_demo_trains_and_classifies_and_leaves_no_process(
    tmp_path: Path, data: Path, quick: Path
) -> None:
    done = end_of(start_demo(tmp_path, data, quick, "--rounds", "2"))
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert "AUC %" in done.out
    *_, heading, first, second, third = done.out.splitlines()
    assert heading == "Three messages, classified with the trained model:"
    assert {line.split()[0] for line in (first, second, third)} <= {"spam", "ham"}
    (folder,) = (tmp_path / "runs").iterdir()
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert (summary["status"], summary["rounds_completed"]) == ("completed", 2)
    assert left_behind(tmp_path) == []
    assert list(tmp_path.glob("scratch/fedsms-*")) == []


def test_a_demo_that_is_stopped_while_it_trains_leaves_no_process(
    tmp_path: Path, data: Path, slow: Path
) -> None:
    demos = {}
    for name in ("ctrl-c", "kill"):
        (tmp_path / name).mkdir()
        demos[name] = start_demo(tmp_path / name, data, slow, "--owners", "1")
    for name in demos:
        settings = f"{name}/runs/*/settings.json"
        until(lambda found=settings: bool(list(tmp_path.glob(found))), "the run to begin")  # type: ignore[misc]
    os.killpg(demos["ctrl-c"].pid, signal.SIGINT)  # as a terminal does
    demos["kill"].send_signal(signal.SIGTERM)
    for name, process in demos.items():
        done = end_of(process)
        assert done.code == 130, done.err
        assert "Traceback" not in done.err
        assert left_behind(tmp_path / name) == []
        assert list(tmp_path.glob(f"{name}/scratch/fedsms-*")) == []
        (summary,) = tmp_path.glob(f"{name}/runs/*/summary.json")
        assert json.loads(summary.read_text(encoding="utf-8"))["status"] == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_while_its_nodes_start_leaves_no_process(
    tmp_path: Path, data: Path, quick: Path, number: signal.Signals
) -> None:
    process = start_demo(tmp_path, data, quick, "--owners", "1")
    until(lambda: any("worker_node" in line for line in left_behind(tmp_path)), "a node to start")
    process.send_signal(number)
    done = end_of(process)
    assert done.code == 130, done.err
    assert "Traceback" not in done.err
    assert left_behind(tmp_path) == []
    assert list(tmp_path.glob("scratch/fedsms-*")) == []
