"""Runs a module as `python -m` does, and tells what its event loop imported once it had connected.

The last line of standard error is a JSON list of modules' names, or "never connected".
"""

from __future__ import annotations

import asyncio
import atexit
import json
import runpy
import sys
from typing import Any

_connected: list[Any] = []
_late: list[str] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        _connected.append(arguments[1])
    elif event == "import" and _connected and asyncio._get_running_loop() is not None:
        _late.append(arguments[0])


def _tell() -> None:
    told = json.dumps(_late) if _connected else "never connected"
    sys.stderr.write(f"\n{told}\n")


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    atexit.register(_tell)
    sys.addaudithook(_hook)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
