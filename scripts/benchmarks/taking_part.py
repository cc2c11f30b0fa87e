"""How long a node that dials out takes from `serve` until it is here, and until its first round."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import click

from scripts.benchmarks.runs import make_shards
from scripts.local.identities import make_identities
from scripts.local.nodes import ROOT, clean_environment

POLICY = ROOT / "scripts" / "unguarded.toml"


@click.command()
@click.option("--repeat", type=click.IntRange(1, 100), default=5, show_default=True)
def taking_part(repeat: int) -> None:
    """Seconds from `serve --dial` until the node is here, and until its first round is over.

    The coordinator stays (`up`), and trains as soon as a node comes that was not there before.
    """
    names = [f"node{number}" for number in range(repeat + 1)]
    here, over = [], []
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        folder = Path(scratch)
        coordinator = make_identities(folder, names)
        data = next(iter(make_shards(folder, 2, "iid", seed=0).node_commands().values()))
        with _staying(folder, coordinator) as (place, lines):
            for name in names:
                began = time.perf_counter()
                line = (
                    *("serve", *data, "--policy", POLICY),
                    *("--audit-log", folder / f"{name}.log"),
                )
                flags = ("--identity", folder / name, "--dial", f"wss://{place}")
                node = _start("worker_node", *line, *flags, stderr=subprocess.DEVNULL)
                try:
                    here.append(_until(lines, f"node {name} is here") - began)
                    over.append(_until(lines, "round 1/1") - began)
                    # back between two runs: who is awaited keeps the next one from beginning
                    _until(lines, f"node {name} is here")
                finally:
                    node.terminate()
                    node.wait()
                _until(lines, f"node {name} has left")
    # the first run loads what the coordinator needs for all
    click.echo(f"| from `serve` to | median of {repeat}, s | least, most |\n|---|---|---|")
    for what, found in (("being here", here[1:]), ("the end of its first round", over[1:])):
        click.echo(f"| {what} | {median(found):.2f} | {min(found):.2f}, {max(found):.2f} |")


@contextmanager
def _staying(folder: Path, identity: Path) -> Iterator[tuple[str, Iterator[str]]]:
    """A coordinator that stays: where it listens, and its lines as they come."""
    flags = ("--listen", "127.0.0.1:0", "--identity", identity, "--run-dir", folder / "runs")
    when = ("--when", "min_nodes", "--min-nodes", 1, "--rounds", 1)
    process = _start("server", "up", *flags, *when, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        first = next(line for line in lines if line.startswith("listens at"))
        yield first.split()[2].rstrip(",;").removeprefix("wss://"), lines
    finally:
        process.terminate()
        process.communicate()


def _start(module: str, *arguments: object, stderr: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        text=True,
        cwd=ROOT,
        env=clean_environment(),
    )


def _until(lines: Iterator[str], words: str) -> float:
    """When a line with the words came."""
    for line in lines:
        if words in line:
            return time.perf_counter()
    raise click.ClickException(f"the coordinator has ended before it said {words!r}")
