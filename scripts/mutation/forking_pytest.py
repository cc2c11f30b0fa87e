"""Runs pytest again and again, each time in a fork that finds what is named here loaded.

    python forking_pytest.py FOLDER PACKAGE...     # the checkout whose tests are run

A line of JSON comes in for each run, `{"arguments": [...], "seconds": 60, "said": "FILE"}`, and one
goes out, `{"code": 0, "seconds": 1.2}`; code is null where the run took too long and was ended.
A run sees a module that is not named as it lies there.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path


def main(folder: str, *packages: str) -> None:
    os.chdir(folder)
    sys.path[0] = folder
    for name in ("pytest", *packages):
        importlib.import_module(name)
    gc.freeze()  # no run looks through all of this for rubbish
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.monotonic()
        code = _run(asked["arguments"], asked["seconds"], Path(asked["said"]))
        print(json.dumps({"code": code, "seconds": time.monotonic() - began}), flush=True)


def _run(arguments: list[str], seconds: float, said: Path) -> int | None:
    child = os.fork()
    if child == 0:
        _be_a_run(arguments, said)
    ended, deadline = _Ended(child), time.monotonic() + seconds
    while not ended.is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):  # also what its tests have left behind
        os.killpg(child, signal.SIGKILL)
    if ended.is_so():
        return ended.code
    os.waitpid(child, 0)
    return None


class _Ended:
    def __init__(self, child: int) -> None:
        self._child = child
        self.code: int | None = None

    def is_so(self) -> bool:
        if self.code is None:
            ended, status = os.waitpid(self._child, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if ended else None
        return self.code is not None


def _be_a_run(arguments: list[str], said: Path) -> None:
    os.setpgid(0, 0)
    quiet = os.open(os.devnull, os.O_RDONLY)
    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for source, target in ((quiet, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    import pytest

    code = 70
    try:
        code = int(pytest.main(arguments))
    except BaseException:  # noqa: BLE001  # a fork ends here, whatever there was
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
