"""A command that is forked is what the same command is that was started anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import forked
from tests.helpers.forked import popen
from tests.helpers.running import Finished, environment, finish, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are of Linux alone")

SAYS = """
import os, sys
print(sys.argv, os.getcwd(), __name__, sys.path[0], dict(os.environ), sys.stdin.read())
print(os.getppid(), sorted(os.listdir("/proc/self/fd")), os.getpgid(0) == os.getpid())
print([stream.encoding + stream.errors for stream in (sys.stdin, sys.stdout, sys.stderr)])
print("\\udc80\\n" * 3, file=sys.stderr, end="")
"""
ENDS = {
    "falls off its end": ("print(1)", 0),
    "a code": ("import sys; print(1); sys.exit(3)", 3),
    "a text": ("import sys; sys.exit('no\\u00e9')", 1),
    "an error": ("import atexit; atexit.register(print, 'last'); print(1 / 0)", 1),
    "handlers": ("import atexit, sys; atexit.register(print, 'last'); sys.exit(4)", 4),
    "a thread": (
        "import sys, threading; threading.Timer(0.05, print, ['late']).start(); sys.exit(5)",
        5,
    ),
    "a signal": ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
    "an interrupt": ("import os; os.kill(os.getpid(), 2)", -signal.SIGINT),
    "a full disk": ("import sys; sys.stdout = open('/dev/full', 'w'); print(1); sys.exit(6)", 120),
}


@pytest.fixture(scope="module")
def loaded() -> Iterator[forked._Preloaded]:
    """One that was started with the environment of now; an earlier one may have another."""
    one = forked._Preloaded()
    yield one
    one._end()


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch, loaded: forked._Preloaded) -> None:
    monkeypatch.setattr(forked, "_preloaded", lambda: loaded)
    monkeypatch.setattr(forked, "MODULES", ("server", "worker_node", "told"))
    monkeypatch.setenv(forked.ASKS, "yes")


def both(folder: Path, **options: Any) -> tuple[Finished, Finished]:
    """What `python -m told one two` did, forked and started anew."""
    line = (sys.executable, "-m", "told", "one", "two")
    shared: dict[str, Any] = {"text": True, "cwd": folder, "env": environment(), **options}
    shared |= dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    one, other = popen(line, **shared), subprocess.Popen(line, **shared)
    assert type(one) is not type(other)
    return finish(one), finish(other)


@pytest.mark.parametrize("group", [None, 0])
def test_it_finds_the_same_around_it(tmp_path: Path, group: int | None) -> None:
    (tmp_path / "told.py").write_text(SAYS)
    env = environment(FEDSMS_NO="1", COLUMNS="3")
    one, other = both(tmp_path, process_group=group, env=env)
    assert other.code == 0, other
    assert one == other
    assert one.out.splitlines()[1].startswith(f"{os.getpid()} ['0', '1', '2', '3']")


@pytest.mark.parametrize(("code", "ended"), ENDS.values(), ids=list(ENDS))
def test_it_ends_in_the_same_way(tmp_path: Path, code: str, ended: int) -> None:
    (tmp_path / "told.py").write_text(code)
    one, other = both(tmp_path)
    assert one.code == other.code == ended
    assert one.out == other.out
    assert one.err.splitlines()[-1:] == other.err.splitlines()[-1:]  # of a trace the last line


def test_it_can_be_told_to_stop(tmp_path: Path) -> None:
    (tmp_path / "told.py").write_text("print('here', flush=True); import time; time.sleep(600)")
    line = (sys.executable, "-m", "told")
    process = popen(line, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment())
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    assert process.poll() is None
    process.terminate()
    assert process.wait() == -signal.SIGTERM
    process.stdout.close()


@pytest.mark.parametrize(
    "line",
    [
        ("server", "status", "--node", "bob=ws://127.0.0.1:1"),
        ("server", "--help"),
        ("server", "train", "--nodes"),
        ("worker_node", "check", "--data", "missing.tsv"),
    ],
)
def test_a_command_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[str, ...]
) -> None:
    one = run(*line, cwd=tmp_path)
    monkeypatch.delenv(forked.ASKS)
    assert one == run(*line, cwd=tmp_path)
    assert one.out or one.err


@pytest.mark.parametrize(
    ("line", "extra"),
    [
        (("-m", "server"), {"PYTHONWARNINGS": "error"}),
        (("-m", "server"), {"LC_ALL": "C"}),
        (("-m", "server"), {"PYTHONPATH": "elsewhere"}),
        (("-m", "server"), {"OMP_NUM_THREADS": "2"}),
        (("-W", "error", "-m", "server"), {}),
        (("-c", "pass"), {}),
        (("-m", "scripts.mutate"), {}),
    ],
)
def test_what_steers_a_start_is_started_anew(line: tuple[str, ...], extra: dict[str, str]) -> None:
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = popen((sys.executable, *line, "--help"), env=environment(**extra), **options)
    assert type(process) is subprocess.Popen
    process.kill()
    process.wait()


def test_what_was_not_asked_for_and_costs_a_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET_BY_SOME_LIBRARY", "1")
    with pytest.warns(UserWarning, match=r"started anew for \['SET_BY_SOME_LIBRARY'\]"):
        process = popen(
            (sys.executable, "-m", "told"), env=environment(), stderr=subprocess.DEVNULL
        )
    assert type(process) is subprocess.Popen
    process.wait()
