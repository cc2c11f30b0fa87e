"""Measures what a coordinator reads from how busy a node is, which pointer mode does not prevent.

    python scripts/pointer_load.py --trials 60

The node's policy lets no gradient go, so answers of a session that names rows leave at moments that
were paid for. A second session of the same coordinator names none, and its answers leave at once:
it times its own work while the first runs an operation whose length a label of the owner's decides.
Prints how many labels were guessed, what that is in bits, and how long each took.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from scripts.local.nodes import local_nodes
from server.pointers import connect, disconnect
from server.pointers.client import PointerClient
from shared.cli import run
from shared.pysyft import new_id, sy

ROWS = 200
SIZE = 2500
"""Of the matrices that are multiplied where the label is 1."""
LOOKS = 12
POLICY = 'modes = ["pointers"]\n[pointers]\ngradients = false\nnumbers = 100_000\n'


def write_owner(folder: Path) -> tuple[Path, list[int]]:
    """Messages of which every third or so is spam, and their labels in the file's order."""
    labels = [int(number * number % 7 in (1, 2)) for number in range(ROWS)]
    lines = [f"{'spam' if one else 'ham'}\tmessage {at}\n" for at, one in enumerate(labels)]
    path = folder / "bob.tsv"
    path.write_text("".join(lines), encoding="utf-8")
    return path, labels


def work(bob: PointerClient, flags: Any, place: int) -> None:
    """Has the node multiply large matrices where the flag at that place is 1, small ones else."""
    ids = [new_id() for _ in range(5)]
    here = ("r", 0)
    steps: list[tuple[Any, list[int]]] = [
        (("__getitem__", (here, place), ()), [flags.id_at_location, ids[0]]),
        (("__mul__", (here, SIZE), ()), [ids[0], ids[1]]),
        (("long", (here,), ()), [ids[1], ids[2]]),
        (("torch.ones", (("l", here, here),), ()), [ids[2], ids[2], ids[3]]),
        (("matmul", (here, here), ()), [ids[3], ids[3], ids[4]]),
    ]
    for template, tensors in steps:
        bob.command(template, tensors)
    bob.stream.flush()


def seconds_of_own_work(bob: PointerClient, mine: Any) -> float:
    found = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        (mine @ mine).sum().get()
        found.append(time.perf_counter() - began)
    return median(found)


def guess(one: PointerClient, other: PointerClient, mine: Any, flags: Any, place: int) -> float:
    one.wait()
    work(one, flags, place)
    seconds = seconds_of_own_work(other, mine)
    one.wait()
    return seconds


def measure(trials: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        data, labels = write_owner(Path(scratch))
        policy = Path(scratch) / "policy.toml"
        policy.write_text(POLICY, encoding="utf-8")
        flags = ("--data", str(data), "--held-out", "0", "--policy", str(policy))
        with local_nodes({"bob": flags}) as (node,):
            one, other = (connect(node.flag, seed=1) for _ in range(2))
            try:
                return _guessed(one, other, labels, trials)
            finally:
                disconnect(one)
                disconnect(other)


def _guessed(
    one: PointerClient, other: PointerClient, labels: list[int], trials: int
) -> dict[str, Any]:
    mine: Any = torch.ones(400, 400).send(other)  # type: ignore[attr-defined]
    known: Any = torch.tensor([0.0, 1.0]).send(one)  # type: ignore[attr-defined]
    (hidden,) = one.search(["#train", "#labels"])
    tried = [[guess(one, other, mine, known, place) for _ in range(8)] for place in (0, 1)]
    bound = sum(map(median, tried)) / 2
    began = time.perf_counter()
    right = sum(
        (guess(one, other, mine, hidden, place) > bound) == labels[place] for place in range(trials)
    )
    seconds = (time.perf_counter() - began) / trials
    share = right / trials
    bits = 1 - sum(-p * math.log2(p) for p in (share, 1 - share) if p)
    return {"trials": trials, "right": right, "bits": bits, "seconds": seconds}


@click.command()
@click.option("--trials", type=click.IntRange(1, ROWS), default=60, show_default=True)
def main(trials: int) -> None:
    """Measure what a coordinator reads from how busy a node is."""
    sy.TorchHook(torch)
    click.echo(json.dumps(measure(trials)))


if __name__ == "__main__":
    run(main, "python scripts/pointer_load.py")
