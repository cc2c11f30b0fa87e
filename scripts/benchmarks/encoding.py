"""What it takes to read a message: `scripts/benchmark.py encoding`.

Processor time in a process of its own, this checkout and others in turns: of making ids out of
text, and, with a trained model, of a stream through `predict`. The messages are those of
scripts/benchmarks/shard.py.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import click

from scripts.benchmarks.shard import make_messages
from scripts.local.nodes import ROOT, clean_environment

MESSAGES = 20_000
FIRST = 4_000
"""Messages that are read before the clock starts: what a process learns once is learnt then."""

# of checkouts before shared/model/many_texts.py, one by one and of fewer messages
ENCODE = """
import sys, time, zlib
from pathlib import Path
from shared.model.recipe import load_recipe
import numpy as np
try:
    from shared.model.many_texts import encode_all
    number = int(sys.argv[3])
except ImportError:
    from shared.model.text import encode
    number = int(sys.argv[3]) // 10
    def encode_all(texts, recipe):
        return np.array([encode(text, recipe) for text in texts], np.int32)
texts = [line.split("\\t", 1)[1] for line in Path(sys.argv[1]).read_text("utf-8").splitlines()]
recipe = load_recipe(sys.argv[2]).text
first = int(sys.argv[4])
encode_all(texts[:first], recipe)
began = time.process_time()
for start in range(first, first + number, 1024):
    encode_all(texts[start : min(start + 1024, first + number)], recipe)
print((time.process_time() - began) / number * 1e6)
print(zlib.crc32(encode_all(texts[:500], recipe).astype("<i4").tobytes()))
"""


@click.command()
@click.option("--repeat", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--recipe", "recipes", multiple=True, default=("default", "private", "tutorial"))
@click.option(
    "--model",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A run's folder; with it, `predict` is measured as well.",
)
@click.option(
    "--against",
    "others",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Another checkout, measured in turns with this one; once for each.",
)
def encoding(
    repeat: int, recipes: tuple[str, ...], model: Path | None, others: tuple[Path, ...]
) -> None:
    """Microseconds of the processor a message: its ids, and its verdict in a stream."""
    roots = [*(other.resolve() for other in others), ROOT]
    click.echo("| | " + " | ".join(root.name for root in roots[:-1]) + " | this |")
    click.echo("|---" * (1 + len(roots)) + "|")
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        file = make_messages(Path(scratch) / "messages.tsv", FIRST + MESSAGES)
        for recipe in recipes:
            turns = [[_encoded(root, file, recipe) for root in roots] for _ in range(repeat)]
            _say(f"ids of `{recipe}`", turns)
        if model is not None:
            texts = [line.split("\t", 1)[1] for line in file.read_text("utf-8").splitlines()]
            run = model.resolve()
            pairs = [[_predicted(root, run, texts) for root in roots] for _ in range(repeat)]
            _say("`predict`, a message of a stream", [[pair[0] for pair in turn] for turn in pairs])
            _say("`predict`, one message alone", [[pair[1] for pair in turn] for turn in pairs])


Measured = tuple[float, str]
"""Microseconds, and a digest of what came out."""


def _say(what: str, turns: list[list[Measured]]) -> None:
    of_root = [[micros for micros, _ in one] for one in zip(*turns, strict=True)]
    click.echo(f"| {what} | " + " | ".join(f"{median(one):,.1f}" for one in of_root) + " |")
    if len({digest for turn in turns for _, digest in turn if digest}) > 1:
        click.echo("What came out differs!", err=True)


def _encoded(root: Path, file: Path, recipe: str) -> Measured:
    command = [sys.executable, "-c", ENCODE, str(file), recipe, str(MESSAGES), str(FIRST)]
    done = subprocess.run(
        command, cwd=root, env=clean_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:  # an older checkout may not have the recipe
        return float("nan"), ""
    micros, digest = done.stdout.split()
    return float(micros), digest


def _predicted(root: Path, model: Path, texts: list[str]) -> tuple[Measured, Measured]:
    one, _ = _used(root, model, texts[:1])
    many, digest = _used(root, model, texts[:MESSAGES])
    return ((many - one) / MESSAGES * 1e6, digest), (one * 1e6, "")


def _used(root: Path, model: Path, texts: list[str]) -> tuple[float, str]:
    """Seconds of the processor, start and end included."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "server", "predict", "--model", str(model)],
        cwd=root, env=clean_environment(), input="\n".join(texts).encode(), capture_output=True,
        check=True,
    )  # fmt: skip
    after = os.times()
    used = after.children_user + after.children_system
    return (
        used - before.children_user - before.children_system,
        hashlib.sha256(done.stdout).hexdigest(),
    )
