"""A federation of many owners on this machine, each owner's node in a container of its own.

    python scripts/federation.py up --owners 8 --partition dirichlet
    python scripts/federation.py train
    python scripts/federation.py kill carol
    python scripts/federation.py status
    python scripts/federation.py start carol
    python scripts/federation.py down

Every node has its owner's messages and key, and a network with nobody but coordinators on it.
All that is made here carries the label fedsms.federation=NAME, and nothing without it is touched.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from scripts.compose.owner_folders import owners_of
from scripts.containers.cli import PROGRAM, json_option, name_option, opened, say, tag_option
from scripts.containers.owners import OWNERS_COMMANDS
from scripts.data.partition import Partition
from scripts.fetch_data import find_data
from shared.cli import HELP, GroupWithExamples, run, subcommand_of
from shared.errors import Interrupted

if TYPE_CHECKING:  # --help does without the Docker SDK
    from scripts.containers.labels import Federation

run_dir_option = click.option(
    "--run-dir", default="runs", show_default=True, help="Folder that holds the run folders."
)


@click.group(
    cls=GroupWithExamples,
    examples=(
        f"{PROGRAM} up --owners 8 --partition dirichlet",
        f"{PROGRAM} train --rounds 5",
        f"{PROGRAM} kill carol",
        f"{PROGRAM} down",
    ),
    context_settings=HELP,
)
def main() -> None:
    """Many owners' nodes in containers on this machine, to train with and disturb."""


command = subcommand_of(main)


@command(
    f"{PROGRAM} up --owners 8 --partition dirichlet --alpha 0.3",
    f"{PROGRAM} up --name second --data messages.tsv --build",
    f"{PROGRAM} up --owners 40 --subnets 10.213.0.0/16",
)
@click.option("--owners", type=click.IntRange(1, 256), default=2, show_default=True)
@click.option(
    "--partition", type=click.Choice(get_args(Partition)), default="iid", show_default=True
)
@click.option(
    "--alpha",
    type=click.FloatRange(0.01, 1e6),
    default=0.3,
    show_default=True,
    help="Of the partition dirichlet: the smaller, the more uneven.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True, help="Of the deal."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="SMS_DATA",
    show_envvar=True,
    help="Your own file of messages, instead of the SMS Spam Collection.",
)
@click.option(
    "--build/--no-build",
    default=None,
    help="Build the images in any case, or never.  [default: those that are missing]",
)
@click.option(
    "--subnets",
    metavar="RANGE",
    help="Private addresses for the owners' networks, 8 each.  [default: Docker's own pools, "
    "which have about 30 networks]",
)
@click.option(
    "--policy",
    multiple=True,
    metavar="OWNER=FILE",
    help="An owner's policy.toml, readable by everybody; repeatable.  [default: none]",
)
@name_option
@tag_option
def up(
    owners: int,
    partition: Partition,
    alpha: float,
    seed: int,
    data: Path | None,
    build: bool | None,
    subnets: str | None,
    policy: tuple[str, ...],
    name: str,
    tag: str,
) -> None:
    """Make and start what is missing of a federation."""
    with opened(name, tag) as federation:
        from scripts.containers.images import ensure_images
        from scripts.containers.networks import parse_range
        from scripts.containers.up import Settings, bring_up
        from worker_node.data.messages import read_messages
        from worker_node.guarding.policy_file import read_policy

        addresses = parse_range(subnets) if subnets else None
        source = find_data(data)
        policies = owners_of(policy, "--policy", "FILE")
        read_messages(source)  # what is wrong with a file is told before anything is made
        for file in policies.values():
            read_policy(file)
        settings = Settings(owners, partition, alpha, seed, source)
        try:
            ensure_images(federation, build, say)
            bring_up(federation, settings, addresses, policies, say)
        except KeyboardInterrupt:
            raise Interrupted(
                "stopped", next_step="The same `up` completes what is there, `down` removes it."
            ) from None
        _print_nodes(federation)


@command(
    f"{PROGRAM} train",
    f"{PROGRAM} train --recipe tutorial --rounds 5 --seed 7",
    f"{PROGRAM} train --min-nodes 0.8",
    f"{PROGRAM} train --resume runs/20261122-170501-default",
)
@click.option("--recipe", metavar="tutorial|default|FILE.toml", help="[default: default]")
@click.option("--rounds", type=click.IntRange(min=1), help="[default: the recipe's]")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="[default: 1]")
@click.option(
    "--secure-aggregation",
    type=click.Choice(["auto", "on", "off"]),
    help="Whether the coordinator sees sums alone.  [default: auto]",
)
@click.option(
    "--min-nodes",
    metavar="COUNT|SHARE",
    help="Nodes that a round needs.  [default: all to begin with, then 0.5]",
)
@click.option(
    "--resume", metavar="RUN", help="Go on with the run in this folder, with its own settings."
)
@run_dir_option
@json_option
@name_option
@tag_option
def train(
    recipe: str | None,
    rounds: int | None,
    seed: int | None,
    min_nodes: str | None,
    secure_aggregation: str | None,
    resume: str | None,
    run_dir: str,
    as_json: bool,
    name: str,
    tag: str,
) -> int:
    """Train on all nodes; ends with the run's exit code."""
    with opened(name, tag) as federation:
        from scripts.containers.coordinator import CallersPath, run_coordinator, runs_folder

        federation.some_nodes()
        mounts = []
        if recipe is not None and Path(recipe).is_file():
            file = CallersPath(recipe)
            mounts.append(file.mount(read_only=True))
            recipe = file.argument
        wanted = {"recipe": recipe, "rounds": rounds, "seed": seed, "min-nodes": min_nodes}
        wanted["secure-aggregation"] = secure_aggregation
        flags = [f"--{flag}={value}" for flag, value in wanted.items() if value is not None]
        runs = CallersPath(resume) if resume else runs_folder(run_dir)
        if Path(runs.given).is_dir():
            mounts.append(runs.mount(read_only=False))
        flags.append(f"--{'resume' if resume else 'run-dir'}={runs.argument}")
        return run_coordinator(federation, ["train", *flags, *_json(as_json)], mounts, dials=True)


@command(f"{PROGRAM} status")
@json_option
@name_option
@tag_option
def status(as_json: bool, name: str, tag: str) -> int:
    """Ask every node over the wire, as the coordinator does."""
    with opened(name, tag) as federation:
        from scripts.containers.coordinator import run_coordinator

        return run_coordinator(federation, ["status", *_json(as_json)], [], dials=True)


@command(f"{PROGRAM} evaluate", f"{PROGRAM} evaluate --json")
@run_dir_option
@json_option
@name_option
@tag_option
def evaluate(run_dir: str, as_json: bool, name: str, tag: str) -> int:
    """Measure the newest model on the owners' held-out rows."""
    return _with_runs(name, tag, run_dir, "evaluate", _json(as_json), dials=True)


@command(f'{PROGRAM} predict "You have won a prize, call now"')
@click.argument("message", nargs=-1, required=True)
@run_dir_option
@json_option
@name_option
@tag_option
def predict(message: tuple[str, ...], run_dir: str, as_json: bool, name: str, tag: str) -> int:
    """Classify a MESSAGE with the newest model; needs no node."""
    flags = [*_json(as_json), "--", *message]
    return _with_runs(name, tag, run_dir, "predict", flags, dials=False)


def _with_runs(
    name: str, tag: str, run_dir: str, what: str, flags: Sequence[str], *, dials: bool
) -> int:
    """Runs a command of the coordinator that reads the folder of runs."""
    with opened(name, tag) as federation:
        from scripts.containers.coordinator import CallersPath, run_coordinator

        runs = CallersPath(run_dir)
        mounts = [runs.mount(read_only=True)] if Path(run_dir).is_dir() else []
        arguments = [what, "--run-dir", runs.argument, *flags]
        return run_coordinator(federation, arguments, mounts, dials=dials)


def _json(as_json: bool) -> list[str]:
    return ["--json"] if as_json else []


@command(f"{PROGRAM} ps", f"{PROGRAM} ps --json")
@json_option
@name_option
def ps(as_json: bool, name: str) -> None:
    """Say who is up, as Docker sees it."""
    with opened(name) as federation:
        _print_nodes(federation, as_json)


def _print_nodes(federation: Federation, as_json: bool = False) -> None:
    from scripts.containers.states import nodes_table, state_of
    from server.display.fitting import print_table

    networks = federation.networks()
    nodes = federation.nodes() if as_json else federation.some_nodes()
    states = [state_of(owner, node, networks.get(owner)) for owner, node in nodes.items()]
    if as_json:
        click.echo(json.dumps([state.as_dict() for state in states]))
    else:
        print_table(nodes_table(federation.name, states))


for one_of_owners in OWNERS_COMMANDS:
    main.add_command(one_of_owners)


@command(f"{PROGRAM} down", f"{PROGRAM} down --keep-volumes")
@click.option(
    "--keep-volumes", is_flag=True, help="Keep certificates, messages and audit logs for a next up."
)
@name_option
def down(keep_volumes: bool, name: str) -> None:
    """Remove the federation's containers, networks and volumes. Runs and images stay."""
    with opened(name) as federation:
        from scripts.containers.down import take_down

        removed = take_down(federation, keep_volumes)
    say("Removed " + ", ".join(f"{count} {kind}" for kind, count in removed.items()))


if __name__ == "__main__":
    run(main, PROGRAM)
