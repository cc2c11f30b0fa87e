"""What an open live page costs a run: `scripts/benchmark.py page`.

The same nodes and seed, trained with `--page` and pages that are open from the first round on, and
without, in turns; each pair has its ratio. A page is what reads its events as fast as they come, as
a browser does; what a browser needs to draw is the browser's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

import click

from scripts.benchmarks.runs import make_shards, spread
from scripts.local.nodes import NO_SETTINGS, ROOT, LocalNode, clean_environment, local_nodes
from shared.errors import NodeFailed

_AT = re.compile(r"Follow the run at (\S+)")


@click.command()
@click.option("--repeat", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--owners", type=click.IntRange(1, 64), default=2, show_default=True)
@click.option("--pages", default=1, show_default=True, help="That are open.")
@click.option("--rounds", default=30, show_default=True)
@click.option("--recipe", default="tutorial", show_default=True)
def page(repeat: int, owners: int, pages: int, rounds: int, recipe: str) -> None:
    """Seconds of a run with its live page open, against one without a page."""
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        shards = make_shards(Path(scratch), owners, "iid", seed=0)
        with local_nodes(shards.node_commands()) as nodes:
            shown: list[dict[str, float]] = []
            plain: list[dict[str, float]] = []
            for number in range(repeat):
                flags = (nodes, recipe, rounds, Path(scratch))
                # which is first changes from turn to turn
                for wanted in (pages, None) if number % 2 else (None, pages):
                    (plain if wanted is None else shown).append(_trained(*flags, wanted))
                click.echo(f"{number + 1} of {repeat} measured", err=True)
    _say(shown, plain, pages)


def _say(shown: list[dict[str, float]], plain: list[dict[str, float]], pages: int) -> None:
    click.echo(f"{pages} open, medians, with the least and the most:")
    for name, unit in (
        ("seconds", "s in rounds"),
        ("processor", "s of the coordinator's processor"),
    ):
        with_it, without = ([one[name] for one in some] for some in (shown, plain))
        ratios = [a / b for a, b in zip(with_it, without, strict=True)]
        click.echo(f"  {unit}: {spread(with_it)} with, {spread(without)} without")
        click.echo(f"    ratio, pair by pair: {spread(ratios)}; of the medians: "
                   f"{median(with_it) / median(without):.3f}")  # fmt: skip
    click.echo(f"  events read by a page: {median(one['events'] for one in shown):.0f}")


def _trained(
    nodes: list[LocalNode], recipe: str, rounds: int, scratch: Path, pages: int | None
) -> dict[str, float]:
    """Args: pages: that are open; None serves none. Raises NodeFailed."""
    flags = [part for node in nodes for part in ("--node", node.flag)]
    flags += ["--recipe", recipe, "--rounds", str(rounds), "--run-dir", str(scratch), "--json"]
    flags += [*NO_SETTINGS, *([] if pages is None else ["--page"])]
    process = subprocess.Popen(
        [sys.executable, "-m", "server", "train", *flags],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    events: list[int] = []
    readers = _open_pages(process.stderr, pages, events) if pages is not None else []
    threading.Thread(target=process.stderr.read, daemon=True).start()
    last = json.loads(process.stdout.read().splitlines()[-1])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    for reader in readers:
        reader.join()
    if process.returncode:
        raise NodeFailed(f"the training ended with exit code {process.returncode}")
    summary: dict[str, Any] = json.loads((Path(last["run"]) / "summary.json").read_text())
    return {
        "seconds": summary["seconds_in_rounds"],
        "processor": usage.ru_utime + usage.ru_stime,
        "events": max(events, default=0),
    }


def _open_pages(said: Any, pages: int, events: list[int]) -> list[threading.Thread]:
    address = next(found[1] for line in said if (found := _AT.search(line)))

    def read() -> None:
        count = 0
        with urllib.request.urlopen(f"{address}events") as stream:  # noqa: S310 - our own page
            for line in stream:
                count += line.startswith(b"event: ")
        events.append(count)

    readers = [threading.Thread(target=read, daemon=True) for _ in range(pages)]
    for one in readers:
        one.start()
    return readers
