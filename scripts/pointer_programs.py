"""Runs random programs of pointer mode on two owners' rows, and says whether they told them apart.

    python scripts/pointer_programs.py --programs 20000
    python scripts/pointer_programs.py --programs 500 --seed 7

A program is some frames of commands: operations from the whole list, by position and by keyword, on
tensors, views, gradients and rows, in place, recorded and replayed, that fail and that are refused,
with tags, deletes and fetches, with gradients allowed and not. What leaves the two runs of one must
be the same bits but for what was paid (scripts/fuzzing/pointer_programs.py). It prints one JSON
object; where rows were told, what told them, and exit code 1.

Programs build on the calls that succeeded in those before them. They run in a process that ends
where an operation ends it; the next program then runs in another.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

import click
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from scripts.fuzzing.operation_arguments import known_operations
from scripts.fuzzing.pointer_oracle import RowsWereTold
from scripts.fuzzing.pointer_programs import Reached, run_program
from shared.cli import run
from shared.errors import FedsmsError
from worker_node.pointers.child import make_decoder
from worker_node.pointers.limits import at_most, fill_memory, leave_no_core, limit_memory

MEGABYTES = 2048
SECONDS = 20.0
_COUNTED = ("frames", "commands", "succeeded", "answers", "refused", "paid")


@dataclass
class Explored:
    """What all programs together came to.

    operations: that succeeded in some program, of those that this torch has. ended: programs that
    ended their process. paid: bits. told: what told rows.
    """

    programs: int = 0
    frames: int = 0
    commands: int = 0
    succeeded: int = 0
    answers: int = 0
    refused: int = 0
    paid: int = 0
    ended: int = 0
    operations: int = 0
    of_operations: int = 0
    seconds: float = 0.0
    told: list[str] = field(default_factory=list)


def explore(programs: int, seed: int, change: Callable[[], None] = lambda: None) -> Explored:
    """Args: change: made to the engine in the process that runs it, to see whether it shows."""
    began, found, names = time.monotonic(), Explored(), set[str]()
    first = 0
    while first < programs:
        reading, writing = os.pipe()
        process = os.fork()
        if not process:
            _become(reading, writing, range(first, programs), seed, change)
        os.close(writing)
        with os.fdopen(reading, "rb") as lines:
            first = _gather(lines, first, found, names)
        _, status = os.waitpid(process, 0)
        if status:
            found.ended += 1
            first += 1
    found.programs = programs
    found.operations, found.of_operations = len(names), len(known_operations())
    found.seconds = round(time.monotonic() - began, 1)
    return found


def _gather(lines: BinaryIO, first: int, found: Explored, names: set[str]) -> int:
    """Adds what a process said up to its end; gives the first program that it did not finish."""
    for line in lines:
        told = json.loads(line)
        for name in _COUNTED:
            setattr(found, name, getattr(found, name) + told[name])
        names.update(told["operations"])
        if told["told"]:
            found.told.append(f"program {first}: {told['told']}")
        first += 1
    return first


def _become(
    reading: int, writing: int, programs: range, seed: int, change: Callable[[], None]
) -> None:
    """Runs the programs, and says a line after each. Never returns."""
    try:
        os.close(reading)
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        change()
        decoder, reached = make_decoder(), Reached()
        leave_no_core()
        fill_memory()
        limit_memory(MEGABYTES)
        with os.fdopen(writing, "wb", buffering=0) as lines:
            for number in programs:
                lines.write(_one(number + seed * 10**6, decoder, reached))
        os._exit(0)
    finally:
        os._exit(1)


def _one(number: int, decoder: object, reached: Reached) -> bytes:
    before, known, told = (
        {one: getattr(reached, one) for one in _COUNTED},
        set(reached.learned),
        "",
    )
    with at_most(SECONDS):
        try:
            run_program(number, decoder, reached)
        except RowsWereTold as error:
            told = f"{str(error)[:300]} ... {str(error)[-3000:]}"
    line = {one: getattr(reached, one) - before[one] for one in _COUNTED}
    new = sorted(set(reached.learned) - known)
    return json.dumps({**line, "operations": new, "told": told}).encode() + b"\n"


@click.command()
@click.option("--programs", type=click.IntRange(min=1), default=2000, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
def main(programs: int, seed: int) -> None:
    """Run random programs of pointer mode on two owners' rows."""
    found = explore(programs, seed)
    click.echo(json.dumps(asdict(found)))
    if found.told:
        raise FedsmsError(f"{len(found.told)} programs told rows", found.told[0])


if __name__ == "__main__":
    run(main, "python scripts/pointer_programs.py")
