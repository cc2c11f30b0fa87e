"""What the benchmarks share: owners' files, training as a user would, and figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from scripts.data.partition import Partition
from scripts.fetch_data import find_data
from scripts.local.nodes import NO_SETTINGS, ROOT, LocalNode, clean_environment
from scripts.split_data import Remove, owner_names, split_data
from shared.errors import NodeFailed


@dataclass(frozen=True)
class Shards:
    """Owners' files in a folder, as scripts/split_data.py writes them."""

    folder: Path
    names: tuple[str, ...]

    def files(self, part: str) -> list[Path]:
        return [self.folder / f"{name}.{part}.tsv" for name in self.names]

    def node_commands(self) -> dict[str, tuple[str, ...]]:
        parts = zip(self.names, self.files("train"), self.files("held-out"), strict=True)
        return {
            name: ("--data", str(train), "--held-out-data", str(held_out))
            for name, train, held_out in parts
        }


def make_shards(
    scratch: Path,
    owners: int,
    partition: Partition,
    seed: int,
    remove: Remove | None = None,
    keep_together: bool = False,
) -> Shards:
    """Deals the messages out as scripts/split_data.py does, with its arguments."""
    names = owner_names(owners)
    folder = scratch / f"{partition}-{owners}-{seed}"
    more = {"remove": remove, "keep_together": keep_together}
    split_data(find_data(), folder, names, partition=partition, seed=seed, **more)  # type: ignore[arg-type]
    return Shards(folder, tuple(names))


@dataclass(frozen=True)
class TrainedRun:
    """A run of `python -m server train`.

    rows: of its metrics.jsonl. summary: its summary.json. peak_memory: of the coordinator, bytes.
    """

    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    peak_memory: int

    @property
    def totals(self) -> list[dict[str, Any]]:
        """The row of each round that speaks for all nodes."""
        return [row for row in self.rows if row["node"] == "*"]


def train(nodes: list[LocalNode], recipe: str, seed: int, scratch: Path, *more: str) -> TrainedRun:
    """Trains as a user would, with more flags. Raises NodeFailed where that ends with an error."""
    flags = [part for node in nodes for part in ("--node", node.flag)]
    flags += ["--recipe", recipe, "--seed", str(seed), "--run-dir", str(scratch), "--json"]
    flags += [*NO_SETTINGS, *more]
    command = [sys.executable, "-m", "server", "train", *flags]
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise NodeFailed(f"the training ended with exit code {process.returncode}")
    *rows, last = map(json.loads, lines)
    summary = json.loads((Path(last["run"]) / "summary.json").read_text())
    return TrainedRun(rows, summary, usage.ru_maxrss * 1024)


def centralised(shards: Shards, *script: str) -> dict[str, Any]:
    """What a script prints that trains on the same rows in one place."""
    flags = [part for path in shards.files("train") for part in ("--data", str(path))]
    flags += [part for path in shards.files("held-out") for part in ("--held-out-data", str(path))]
    command = [sys.executable, *script, *flags]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def peak_memory(pid: int) -> int:
    """Largest resident memory of a running process so far, in bytes (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise NodeFailed(f"process {pid} does not say its peak memory")


def proportional_memory(pid: int) -> int:
    """Memory of a process, in bytes; a page that several share counts in parts (Linux)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise NodeFailed(f"process {pid} does not say its proportional memory")


def children(pid: int) -> list[int]:
    """Process ids of a process's children (Linux)."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def spread(values: list[float], form: str = ".3f") -> str:
    """Median, and in brackets the least and the most."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
