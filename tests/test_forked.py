"""A command that is forked is what the same command is that was started anew."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from tests.conftest import OwnerFiles
from tests.helpers import forked
from tests.helpers.forked import popen
from tests.helpers.running import Finished, children_of, environment, finish, run
from worker_node.data.shard import Shard
from worker_node.training.forked import ForkedTrainer
from worker_node.training.trainer_process import TrainerProcess

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
    monkeypatch.setattr(forked, "MODULES", {**forked.MODULES, "told": False})
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


@pytest.mark.parametrize("hooked", [False, True])
def test_pysyft_is_there_where_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hooked: bool
) -> None:
    monkeypatch.setitem(forked.MODULES, "told", hooked)
    (tmp_path / "told.py").write_text("import sys; print('syft' in sys.modules)\n" + SAYS)
    one, other = both(tmp_path)
    assert other.code == 0, other
    assert (one.out.splitlines()[0], other.out.splitlines()[0]) == (str(hooked), "False")
    assert one.out.splitlines()[1:] == other.out.splitlines()[1:]
    assert one.err == other.err


def test_it_has_the_files_that_it_was_given(tmp_path: Path) -> None:
    pairs = [os.pipe() for _ in range(2)]
    numbers = [number for _, number in pairs]
    told = "import os, sys; [os.write(number, b'one') for number in NUMBERS]"
    (tmp_path / "told.py").write_text(told.replace("NUMBERS", str(numbers)))
    for one in both(tmp_path, pass_fds=numbers):
        assert one.code == 0, one
    read = []
    for reading, writing in pairs:
        os.close(writing)
        with os.fdopen(reading) as data:
            read.append(data.read())
    assert read == ["oneone"] * 2


def test_a_trainer_of_a_node_in_this_process_is_what_one_is_that_was_started_anew(
    owners: list[OwnerFiles], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = initial_state(recipe, 1).astype("<f4").tobytes()
    request = {"op": "train", "recipe": recipe.to_json(), "state": state, "seed": 3, "round": 1}
    shard = Shard(tuple(owners[0].train), tuple(owners[0].held_out))

    async def trained() -> tuple[dict[str, Any], type, list[int | None]]:
        trainer, codes = TrainerProcess(shard), []
        answer = await trainer.call(request, lambda: None, lambda _: None)
        for way in (signal.SIGKILL, signal.SIGTERM, None):
            await trainer.start()
            process = trainer._process
            assert process is not None
            assert process.pid in children_of(os.getpid())
            if way is not None:
                os.kill(process.pid, way)
                await process.wait()
                assert trainer.condition == "died"
            await trainer.close()
            codes.append(process.returncode)
        answer.pop("seconds")
        return answer, type(process), codes

    (one, kind, codes) = asyncio.run(trained())
    monkeypatch.delenv(forked.ASKS)
    (other, other_kind, other_codes) = asyncio.run(trained())
    assert (kind, other_kind) == (ForkedTrainer, asyncio.subprocess.Process)
    assert one == other
    assert codes == other_codes == [-signal.SIGKILL, -signal.SIGTERM, 0]


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
