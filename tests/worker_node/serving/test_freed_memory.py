"""What a node freed does not stay its own."""

from __future__ import annotations

import ctypes
import sys

import pytest

from tests.helpers.running import run_python
from worker_node.serving.freed_memory import give_back

HOLDS_AND_FREES = """
from pathlib import Path
from worker_node.serving.freed_memory import give_back

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

held = [bytes(1024) for _ in range(100_000)]
last = bytes(1024)  # behind them, so that the heap cannot shrink by itself
del held
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="the C library here cannot be asked to",
)
def test_freed_memory_goes_back_to_the_system() -> None:
    done = run_python("-c", HOLDS_AND_FREES)
    assert done.code == 0, done.err
    assert int(done.out) > 80_000_000


def test_where_the_c_library_cannot_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    give_back()
