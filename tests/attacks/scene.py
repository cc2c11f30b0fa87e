"""Where attacks happen: PySyft's own worker in a child process, and what the report needs."""

from __future__ import annotations

import asyncio
import binascii
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from shared.pysyft import WorkerCommandMessage, deserialize, make_hook, serialize
from tests.helpers.running import ROOT, environment

REPORT = "FEDSMS_ATTACK_REPORT"
"""Environment variable: a file that gets a JSON line for each attack that was run."""
ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class StockWorker:
    """A running worker of PySyft's own class."""

    port: int
    rows_id: int
    labels_id: int
    process: subprocess.Popen[str]

    def ask_bytes(self, message: bytes) -> bytes | None:
        """Its answer to one message, over a connection of its own; None where it hangs up."""
        return asyncio.run(self._ask(message))

    def ask(self, message: object) -> Any:
        """The same, as objects."""
        answer = self.ask_bytes(serialize(message, me()))
        return None if answer is None else deserialize(answer, me())

    def command(self, name: str, *arguments: Any) -> Any:
        return self.ask(WorkerCommandMessage(name, (arguments, {}, [])))

    async def _ask(self, message: bytes) -> bytes | None:
        url = f"ws://127.0.0.1:{self.port}"
        async with connect(url, max_size=None, proxy=None, ping_interval=None) as connection:
            await connection.send(str(binascii.hexlify(message)))
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await connection.recv()
            except ConnectionClosed:
                return None
        return binascii.unhexlify(answer[2:-1])


def me() -> Any:
    return make_hook().local_worker


@contextmanager
def stock_worker() -> Iterator[StockWorker]:
    """Starts one, and ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.attacks.stock_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    assert process.stdout is not None
    try:
        yield StockWorker(**json.loads(process.stdout.readline()), process=process)
    finally:
        process.kill()
        process.communicate()


def report(attack: str, stock: str, ours: str) -> None:
    """Tells scripts/attack_table.py what an attack got; does nothing otherwise."""
    path = os.environ.get(REPORT)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"attack": attack, "stock": stock, "ours": ours}) + "\n")


def peak_memory(pid: int) -> int:
    """Bytes of memory that a process has had at most."""
    return _status(pid, "VmHWM")


def memory(pid: int) -> int:
    """Bytes of memory that a process has now."""
    return _status(pid, "VmRSS")


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return int(kilobytes) * 1024


def forget_peak(pid: int) -> None:
    """`peak_memory` counts from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="utf-8")
