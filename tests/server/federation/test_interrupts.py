"""Ctrl-C in a script, in a cell of a notebook and beside a thread, and a process that just ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.local.nodes import LocalNode
from tests.helpers.running import environment, finish, until

pytestmark = pytest.mark.timeout(120)

BEGIN = """
import signal, sys, threading, asyncio
from server import Federation
federation = Federation({nodes!r}, rounds=3)
def told(progress):
    if progress.stage == "training":
        print("training", flush=True)
"""
SCRIPT = """
federation.train({slow!r}, progress=told)
"""
CELL = """
async def cell():
    federation.train({slow!r}, progress=told)
asyncio.new_event_loop().run_until_complete(cell())  # as a notebook's kernel does
"""
COROUTINE = """
from server import AsyncFederation
twin = AsyncFederation({nodes!r}, rounds=3)
asyncio.run(twin.train({slow!r}, progress=told))
"""
TWO = """
other = Federation({nodes!r}, rounds=3, run_dir="others")
thread = threading.Thread(target=lambda: list(other.rounds({quick!r})))
thread.start()
federation.train({slow!r}, progress=told)
"""
THREAD = """
thread = threading.Thread(target=lambda: federation.train({slow!r}, progress=told), daemon=True)
thread.start()
try:
    thread.join()
except KeyboardInterrupt:
    print("the main thread has it", file=sys.stderr)
"""
LEFT_OPEN = """
rounds = federation.rounds({quick!r})
print("training", next(rounds).number, flush=True)
sys.stdin.read()
"""


OWN_THREAD = """
def work():
    threading.main_thread().join()
    print("own thread", federation.train({quick!r}).status, flush=True)
threading.Thread(target=work).start()
"""


def started(
    text: str, cwd: Path, nodes: list[LocalNode], slow: Path, quick: Path
) -> subprocess.Popen[str]:
    urls = {node.id: node.url for node in nodes}
    script = (BEGIN + text).format(nodes=urls, slow=str(slow), quick=str(quick))
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(),
    )


def how_it_ended(cwd: Path) -> tuple[str, int]:
    (folder,) = (cwd / "runs").iterdir()
    summary = folder / "summary.json"
    until(summary.exists, "the summary")
    told = json.loads(summary.read_text(encoding="utf-8"))
    return told["status"], told["rounds_completed"]


@pytest.mark.parametrize(
    "text", [SCRIPT, CELL, COROUTINE, TWO], ids=["script", "cell", "coroutine", "two federations"]
)
def test_ctrl_c_is_a_keyboard_interrupt_that_says_what_was_kept(
    text: str, tmp_path: Path, nodes: list[LocalNode], slow: Path, quick: Path
) -> None:
    process = started(text, tmp_path, nodes, slow, quick)
    assert process.stdout is not None
    assert "training" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == -signal.SIGINT
    assert done.err.rstrip().endswith("KeyboardInterrupt")
    assert "stopped after 0 of 3 rounds" in done.err
    assert how_it_ended(tmp_path) == ("interrupted", 0)


def test_the_run_of_a_thread_ends_in_order_with_the_process(
    tmp_path: Path, nodes: list[LocalNode], slow: Path, quick: Path
) -> None:
    process = started(THREAD, tmp_path, nodes, slow, quick)
    assert process.stdout is not None
    assert "training" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == 0, done.err
    assert "the main thread has it" in done.err
    assert how_it_ended(tmp_path) == ("interrupted", 0)


def test_python_waits_for_a_training_that_a_thread_of_the_scripts_leads(
    tmp_path: Path, nodes: list[LocalNode], slow: Path, quick: Path
) -> None:
    done = finish(started(OWN_THREAD, tmp_path, nodes, slow, quick))
    assert (done.code, done.out, done.err) == (0, "own thread completed\n", "")
    assert how_it_ended(tmp_path) == ("completed", 3)


def test_an_iterator_that_nobody_closed_leaves_a_complete_run(
    tmp_path: Path, nodes: list[LocalNode], slow: Path, quick: Path
) -> None:
    process = started(LEFT_OPEN, tmp_path, nodes, slow, quick)
    assert process.stdout is not None
    assert process.stdout.readline() == "training 1\n"
    done = finish(process)
    assert (done.code, done.err) == (0, "")
    assert how_it_ended(tmp_path)[1] == 1
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "model.safetensors").exists()


def test_a_forked_child_has_a_background_of_its_own(
    tmp_path: Path, nodes: list[LocalNode], slow: Path, quick: Path
) -> None:
    fork = """
import os
parent = federation.status().errors
child = os.fork()
if not child:
    print("child", federation.status().errors, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent", parent, flush=True)
"""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork here")
    process = started(fork.replace("{", "{{").replace("}", "}}"), tmp_path, nodes, slow, quick)
    assert finish(process).out == "child {}\nparent {}\n"
