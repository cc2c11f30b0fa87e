"""Limits of a session's process that cannot be seen from outside."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from worker_node.pointers.limits import at_most, fill_memory


def _in_a_process(what: str) -> int:
    """Exit code, below 0 for a signal."""
    process = os.fork()
    if not process:
        code = 1
        try:
            torch.set_num_threads(1)
            code = _ACTIONS[what]()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _read_what_nobody_wrote() -> int:
    """1 where memory still holds what it held before it was given back."""
    fill_memory()
    found = 0
    for count in (16, 1000, 100_000):
        for _ in range(20):
            secret = torch.full((count,), 7.0)
            del secret
            found |= int((torch.empty(count) == 7.0).any())
    return found


def _work_for_ever() -> int:
    with at_most(0.2):
        large = torch.ones(1000, 1000)
        while True:
            large = large @ large


_ACTIONS = {"read": _read_what_nobody_wrote, "work": _work_for_ever}


def test_memory_that_was_given_back_is_not_read_again() -> None:
    assert _in_a_process("read") == 0


@pytest.mark.timeout(60)
def test_what_takes_too_long_ends_its_process() -> None:
    assert _in_a_process("work") == -signal.SIGALRM
