"""How long a start takes: a node's until it is ready, and a coordinator's until its first round."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import click

from scripts.benchmarks.runs import Shards, children, make_shards
from scripts.local.nodes import NO_SETTINGS, ROOT, clean_environment

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Figures:
    """Of one checkout, a value a repetition: seconds by the clock, and of the processor."""

    ready: list[float] = field(default_factory=list)
    ready_cpu: list[float] = field(default_factory=list)
    first_round: list[float] = field(default_factory=list)
    first_round_cpu: list[float] = field(default_factory=list)


ROWS = (
    ("`serve` to ready, s", "ready"),
    ("its processor time, s", "ready_cpu"),
    ("`train` to the end of round 1, s", "first_round"),
    ("its processor time, s", "first_round_cpu"),
)


@click.command()
@click.option("--repeat", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--recipe", default="default", show_default=True)
@click.option(
    "--against",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Another checkout, measured in turns with this one.",
)
def startup(repeat: int, recipe: str, against: Path | None) -> None:
    """Seconds from `serve` to ready, and from `train` to the end of the first round."""
    roots = {"this": ROOT} | ({"other": against.resolve()} if against else {})
    figures = {name: Figures() for name in roots}
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        shards = make_shards(Path(scratch), 2, "iid", seed=0)
        for _ in range(repeat):
            for name, root in roots.items():
                _measure(root, shards, recipe, figures[name])
    click.echo("| | " + " | ".join(roots) + " |" + (" ratio |" if against else ""))
    click.echo("|---" * (len(roots) + 1 + bool(against)) + "|")
    for label, key in ROWS:
        found = [median(getattr(one, key)) for one in figures.values()]
        ratio = f" {found[0] / found[1]:.2f} |" if against else ""
        click.echo(f"| {label} | " + " | ".join(f"{one:.2f}" for one in found) + f" |{ratio}")


def _measure(root: Path, shards: Shards, recipe: str, figures: Figures) -> None:
    with ExitStack() as stack:
        addresses = []
        for node, data in shards.node_commands().items():
            url, seconds, used = stack.enter_context(_node(root, node, data))
            addresses += ["--node", f"{node}={url}"]
            figures.ready.append(seconds)
            figures.ready_cpu.append(used)
        with tempfile.TemporaryDirectory(prefix="fedsms-") as runs:
            _train(root, addresses, recipe, runs)  # the nodes are warm after it
            seconds, used = _train(root, addresses, recipe, runs)
        figures.first_round.append(seconds)
        figures.first_round_cpu.append(used)


@contextmanager
def _node(root: Path, node: str, data: Sequence[str]) -> Iterator[tuple[str, float, float]]:
    """A node of that checkout: its URL, and seconds until it was ready, of clock and processor."""
    policy = str(root / "scripts" / "unguarded.toml")
    quiet = ("--insecure", "--policy", policy, "--audit-log", "off", "--port", "0", "--json")
    began = time.perf_counter()
    process = _start(root, "worker_node", "serve", "--id", node, *data, *quiet)
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        seconds = time.perf_counter() - began
        yield url, seconds, _processor_seconds(process.pid)
    finally:
        process.terminate()
        process.communicate()


def _train(root: Path, addresses: list[str], recipe: str, runs: str) -> tuple[float, float]:
    """Seconds of clock and processor of a run of one round."""
    flags = ("--recipe", recipe, "--rounds", "1", "--run-dir", runs, *NO_SETTINGS)
    began = time.perf_counter()
    process = _start(root, "server", "train", *addresses, *flags)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise click.ClickException(f"the run failed with {os.waitstatus_to_exitcode(status)}")
    return seconds, used.ru_utime + used.ru_stime


def _start(root: Path, module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=root,
        env=clean_environment(),
    )


def _processor_seconds(pid: int) -> float:
    """Of a process and all that it has started, so far."""
    used = 0.0
    for one in (pid, *children(pid)):
        fields = Path(f"/proc/{one}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        used += sum(map(int, fields[11:15])) / TICKS
    return used
