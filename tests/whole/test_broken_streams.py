"""Standard streams that are full, closed, or of another encoding; terminals that go away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.local.nodes import LocalNode, local_nodes
from tests.conftest import OwnerFiles
from tests.helpers.running import ROOT, environment, finish, is_alive, start, until


def shell(line: str, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """A command line as a shell runs it, for its redirections."""
    line = line.replace("python", sys.executable, 1)
    return subprocess.run(
        ["bash", "-c", line],
        cwd=cwd,
        env=environment(**extra),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )


CHECK = "python -m worker_node check --data {data}"


@pytest.mark.parametrize(
    ("redirection", "why"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
)
def test_output_that_cannot_be_written_is_one_error_with_7(
    tmp_path: Path, owners: list[OwnerFiles], redirection: str, why: str
) -> None:
    line = f"{CHECK.format(data=owners[0].train_path)} {redirection}"
    done = shell(line, tmp_path)
    assert done.returncode == 7
    assert done.stderr.startswith(f"error: cannot write to standard output: {why}")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_terminal_without_the_characters_shows_their_codes(tmp_path: Path) -> None:
    (tmp_path / "m.tsv").write_text("ham\tolé नमस्ते\nspam\twin\n" * 5, encoding="utf-8")
    line = CHECK.format(data="m.tsv")
    done = shell(line, tmp_path, PYTHONIOENCODING="cp437", PYTHONUTF8="0")
    assert done.returncode == 0
    assert "ol\ufffd \\u0928" in done.stdout  # "é" is a byte of its own there


@pytest.mark.parametrize(
    ("stdin", "code", "words"),
    [
        ("<&-", 0, "There was no message to classify"),
        ("< /dev/null", 0, "There was no message to classify"),
        ("0> unreadable", 7, "cannot read standard input: Bad file descriptor"),
    ],
)
def test_input_that_is_closed_empty_or_unreadable_is_told(
    tmp_path: Path, node_flags: list[str], quick: Path, stdin: str, code: int, words: str
) -> None:
    train = start("server", "train", "--recipe", quick, *node_flags, cwd=tmp_path)
    assert finish(train).code == 0
    done = shell(f"python -m server predict {stdin}", tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_training_goes_on_where_its_progress_cannot_be_written(
    tmp_path: Path, node_flags: list[str], quick: Path
) -> None:
    line = f"python -m server train --recipe {quick} {' '.join(node_flags)}"
    done = shell(f"{line} 2>/dev/full", tmp_path)
    assert done.returncode == 0
    done = shell(f"{line} --json >/dev/full", tmp_path)
    assert done.returncode == 7
    assert "cannot write to standard output" in done.stderr
    for run in (tmp_path / "runs").iterdir():
        assert json.loads((run / "summary.json").read_text())["status"] == "completed"
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_a_terminal_that_goes_away_ends_a_training_as_ctrl_c_does(
    tmp_path: Path, node_flags: list[str], slow: Path
) -> None:
    train = start("server", "train", "--recipe", slow, *node_flags, cwd=tmp_path)
    until(lambda: any(tmp_path.glob("runs/*/settings.json")), "the run's folder")
    train.send_signal(signal.SIGHUP)
    done = finish(train)
    assert done.code == 130
    assert "stopped after 0 of" in done.err
    (summary,) = tmp_path.glob("runs/*/summary.json")
    assert json.loads(summary.read_text())["status"] == "interrupted"


def test_a_node_ends_in_order_when_its_terminal_goes_away(
    tmp_path: Path, owners: list[OwnerFiles]
) -> None:
    serve = start(
        *("worker_node", "serve", "--id", "zoe", "--port", "0", "--insecure", *owners[0].flags),
        cwd=tmp_path,
    )
    assert serve.stdout is not None
    assert "node zoe is ready" in serve.stdout.readline()
    assert serve.stdout.readline().startswith("The coordinator takes it as:  --node zoe=ws://127")
    serve.send_signal(signal.SIGHUP)
    done = finish(serve)
    assert done.code == 0
    assert "node zoe stops" in done.err


def test_nodes_end_with_whoever_started_them_even_when_that_is_killed(
    tmp_path: Path, owners: list[OwnerFiles]
) -> None:
    script = (
        "import os, sys, time\n"
        "from scripts.local.nodes import local_nodes\n"
        f"with local_nodes({{'zoe': {owners[0].flags!r}}}) as nodes:\n"
        "    print(nodes[0].process.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    assert parent.stdout is not None
    node = int(parent.stdout.readline())
    assert is_alive(node)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    until(lambda: not is_alive(node), "the node's end")


def test_more_nodes_than_start_side_by_side_are_all_ready(
    owners: list[OwnerFiles], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.local.nodes.AT_ONCE", 1)
    monkeypatch.setattr("scripts.local.nodes.WAIT_SECONDS", 0.2)
    with local_nodes(dict.fromkeys(("xu", "yan", "zoe"), owners[0].flags)) as nodes:
        assert all(isinstance(node, LocalNode) and node.url for node in nodes)
    assert "Still starting after" in capsys.readouterr().err
