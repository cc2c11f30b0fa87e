"""A trainer whose node has ended already, as one does that refuses its flags at once."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.helpers.running import ROOT, environment


def test_a_trainer_that_nobody_hears_ends_in_order_and_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [sys.executable, "-m", "worker_node.training.trainer", "1"],
        stdin=subprocess.PIPE,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    os.close(writing)
    _, said = process.communicate()
    assert said == ""
    assert process.returncode == 0
