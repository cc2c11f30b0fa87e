"""What `./scripts/demo` runs once there is an environment: the whole of fedsms on one machine.

Each owner's node is a process of its own that holds its own messages; the coordinator is another,
and all they share is a socket on the loopback interface.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import get_args

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, not as a module

from scripts.data.partition import Partition
from scripts.fetch_data import find_data
from scripts.local.nodes import (
    NO_SETTINGS,
    ROOT,
    LocalNode,
    clean_environment,
    local_nodes,
)
from scripts.split_data import owner_names, split_data, split_table
from server.display.fitting import print_table
from shared.cli import HELP, ExamplesFirst, run

EXAMPLES = (
    "Congratulations! You have won a 1000 pound prize. Call 09061701461 now to claim.",
    "Are you still coming for dinner tonight? I will be home at 7",
    "URGENT: your mobile number was selected for a free ringtone, text YES to 85069",
)


@click.command(
    cls=ExamplesFirst,
    examples=(
        "./scripts/demo",
        "./scripts/demo --owners 10 --rounds 5",
        "./scripts/demo --recipe tutorial --partition article",
    ),
    context_settings=HELP,
)
@click.option("--owners", type=click.IntRange(1, 64), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), help="[default: the recipe's, 15]")
@click.option(
    "--recipe",
    default="default",
    show_default=True,
    help="tutorial, default, private, private-strict, private-owner or a .toml file.",
)
@click.option(
    "--partition", type=click.Choice(get_args(Partition)), default="iid", show_default=True
)
@click.option("--seed", type=click.IntRange(0, 2**31), default=1, show_default=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="SMS_DATA",
    show_envvar=True,
    help="Your own file of messages, instead of the SMS Spam Collection.",
)
@click.option("--run-dir", type=click.Path(), default="runs", show_default=True)
def demo(
    owners: int,
    rounds: int | None,
    recipe: str,
    partition: Partition,
    seed: int,
    data: Path | None,
    run_dir: str,
) -> int:
    """Train a spam classifier on messages that stay with their owners, all on this machine."""
    source = find_data(data)
    recipe = _from_root(recipe) if recipe.endswith(".toml") else recipe
    run_dir = _from_root(run_dir)
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        shards = Path(scratch) / "shards"
        names = owner_names(owners)
        print_table(split_table(split_data(source, shards, names, partition=partition, seed=seed)))
        click.echo(f"Starting {owners} node{'s' if owners > 1 else ''} ...", err=True)
        with local_nodes({name: _flags(shards, name) for name in names}) as nodes:
            flags = ["--recipe", recipe, "--seed", str(seed), "--run-dir", run_dir, *NO_SETTINGS]
            flags += ["--rounds", str(rounds)] if rounds else []
            code = _coordinator("train", *flags, *_node_flags(nodes))
    if code:
        return code
    click.echo("Three messages, classified with the trained model:")
    return _coordinator("predict", "--run-dir", run_dir, *EXAMPLES)


def _from_root(path: str) -> str:
    """A path of the caller's as the coordinator sees it, which runs in the checkout's root."""
    return path if Path.cwd() == ROOT else str(Path(path).resolve())


def _flags(shards: Path, name: str) -> tuple[str, ...]:
    held_out = str(shards / f"{name}.held-out.tsv")
    return ("--data", str(shards / f"{name}.train.tsv"), "--held-out-data", held_out)


def _node_flags(nodes: list[LocalNode]) -> list[str]:
    return [part for node in nodes for part in ("--node", node.flag)]


def _coordinator(*arguments: str) -> int:
    """Runs the coordinator as a user would; gives its exit code."""
    sys.stdout.flush()
    command = [sys.executable, "-m", "server", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, env=clean_environment())
    try:
        return process.wait()
    except BaseException:
        # Ctrl-C reached it too, and it puts its run away; but nothing may outlive the demo.
        process.terminate()
        process.wait()
        raise


if __name__ == "__main__":
    run(demo, "./scripts/demo")
