"""A process that tells releases is killed again and again: nothing is told that is not charged."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.helpers.running import ROOT
from tests.worker_node.privacy.telling import MOST, TERMS
from worker_node.privacy.accounts import Run
from worker_node.privacy.ledger import LEDGER, Ledger

pytestmark = pytest.mark.timeout(600)
KILLS = 50


def told_until_killed(path: Path, seconds: float) -> tuple[list[str], bool]:
    """What one process told before it was killed so long after it began, and whether it was."""
    command = [sys.executable, "-m", "tests.worker_node.privacy.telling", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        killer = threading.Timer(seconds, process.kill)
        killer.start()
        lines = process.stdout.read().splitlines(keepends=True)
        killer.cancel()
    assert process.returncode in (0, -9)
    # a line that was cut short has been told all the same, but nobody can read which
    return [line for line in lines if line.endswith("\n")], process.returncode == -9


def test_through_fifty_kills_nothing_is_told_that_is_not_charged(tmp_path: Path) -> None:
    path, moments = tmp_path / LEDGER, random.Random(7)
    told: dict[tuple[str, int], str] = {}
    killed = 0
    for _ in range(KILLS):
        lines, was_killed = told_until_killed(path, moments.uniform(0, 0.06))
        killed += was_killed
        for line in lines:
            run, number, digest = line.split()
            assert told.setdefault((run, int(number)), digest) == digest, "two noises for one"
        ledger = Ledger(path)
        for (name, release), digest in told.items():
            found = ledger.accounts.runs[Run("hospital", name, "training")]
            assert found.answered[release] == digest
        spent, _ = ledger.accounts.spent("training")
        assert len(told) * TERMS.mu**2 / TERMS.releases <= spent**2 * (1 + 1e-9)
        assert spent <= MOST * (1 + 1e-9)
        ledger.close()
    assert killed
    assert told
