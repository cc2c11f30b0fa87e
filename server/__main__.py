"""The coordinator's command line.

Once, with each data owner (their side is `python -m worker_node init` and `join`):

    python -m server init
    python -m server admit bob.csr

Then, while the owners' nodes serve:

    python -m server status --node bob=wss://10.0.0.7:8777 --node anne=wss://10.0.0.8:8777
    python -m server train  --node bob=wss://10.0.0.7:8777 --node anne=wss://10.0.0.8:8777
    python -m server predict "You have won a prize, call now"
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from server.cli.authority import COMMANDS
from server.cli.federation_file import use_federation
from server.cli.given_nodes import Given
from server.cli.train_options import fault_options, resume_option
from shared.cli import HELP, GroupWithExamples, identity_option, run, subcommand_of
from shared.version import FEDSMS

TWO_NODES = "--node bob=wss://10.0.0.7:8777 --node anne=wss://10.0.0.8:8777"

node_option = click.option(
    "--node",
    multiple=True,
    metavar="ID=URL",
    envvar="FEDSMS_NODES",
    show_envvar=True,
    help="A node's id and address, for example bob=wss://10.0.0.7:8777; once for each node.",
)
federation_option = click.option(
    "--federation",
    type=click.Path(path_type=Path),
    is_eager=True,
    callback=use_federation,
    expose_value=False,
    envvar="FEDSMS_FEDERATION",
    show_envvar=True,
    help="TOML file with nodes and settings; ./federation.toml is used when it is there.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
run_dir_option = click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    envvar="FEDSMS_RUN_DIR",
    show_envvar=True,
    help="Folder that holds the run folders.",
)
model_option = click.option(
    "--model",
    type=click.Path(path_type=Path),
    envvar="FEDSMS_MODEL",
    show_envvar=True,
    help="A run folder, or any folder with model.safetensors and config.json.  "
    "[default: the newest in --run-dir]",
)


insecure_option = click.option(
    "--insecure",
    is_flag=True,
    envvar="FEDSMS_INSECURE",
    show_envvar=True,
    help="Dial ws:// addresses of other machines, without TLS.",
)


@click.group(
    cls=GroupWithExamples,
    examples=(
        "python -m server init",
        "python -m server admit bob.csr",
        f"python -m server status {TWO_NODES}",
        f"python -m server train {TWO_NODES}",
        'python -m server predict "You have won a prize, call now"',
    ),
    context_settings=HELP,
)
@click.version_option(FEDSMS, prog_name="fedsms")
def main() -> None:
    """The coordinator: trains a spam classifier on SMS messages that never leave their owners."""


command = subcommand_of(main)
for authority_command in COMMANDS:
    main.add_command(authority_command)


@command(
    f"python -m server train {TWO_NODES}",
    f"python -m server train {TWO_NODES} --recipe tutorial --seed 7",
    f"python -m server train {TWO_NODES} --recipe tutorial --mode pointers --replay",
    "python -m server train --federation federation.toml --json",
    f"python -m server train {TWO_NODES} --min-nodes 0.8 --round-deadline 120",
    "python -m server train --resume runs/20261122-170501-default",
)
@federation_option
@node_option
@identity_option
@insecure_option
@click.option(
    "--recipe",
    default="default",
    show_default=True,
    metavar="tutorial|default|FILE.toml",
    envvar="FEDSMS_RECIPE",
    show_envvar=True,
    help="What is trained, and how.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    envvar="FEDSMS_ROUNDS",
    show_envvar=True,
    help="Rounds to train.  [default: the recipe's]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**63 - 1),
    default=1,
    show_default=True,
    envvar="FEDSMS_SEED",
    show_envvar=True,
    help="The same seed, nodes and rows give the same weights, bit for bit.",
)
@click.option(
    "--mode",
    type=click.Choice(["rounds", "pointers"]),
    default="rounds",
    show_default=True,
    envvar="FEDSMS_MODE",
    show_envvar=True,
    help="rounds: on all nodes at once, averaged. pointers: batch by batch, as in the 2019 "
    "article; an epoch counts as a round, and each owner must allow it.",
)
@click.option(
    "--replay",
    is_flag=True,
    envvar="FEDSMS_REPLAY",
    show_envvar=True,
    help="With --mode pointers: record the training step once and replay it, one message a batch; "
    "same numbers, faster.",
)
@resume_option
@fault_options
@run_dir_option
@click.option("--name", help="Last part of the run folder's name.  [default: the recipe's name]")
@click.option(
    "--checkpoints",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="How many rounds' models are kept besides the newest.",
)
@json_option
def train(
    node: tuple[str, ...],
    identity: Path,
    insecure: bool,
    as_json: bool,
    run_folder: Path | None,
    **flags: Any,
) -> None:
    """Train on all nodes, a round at a time, and leave a run folder."""
    from server.cli.train import begin, go_on
    from server.display.progress import print_table, rounds_table

    given = Given(node, identity, insecure)
    if run_folder is None:
        finished = begin(given, as_json, flags)
    else:
        finished = go_on(run_folder, given, as_json, flags)
    if as_json:
        click.echo(json.dumps({"run": str(finished.folder), "status": "completed"}))
    else:
        print_table(rounds_table(finished.rounds))
        click.echo(f"The model and all figures are in {finished.folder}")


@command(f"python -m server status {TWO_NODES}")
@federation_option
@node_option
@identity_option
@insecure_option
@json_option
def status(node: tuple[str, ...], identity: Path, insecure: bool, as_json: bool) -> int:
    """Say which nodes answer, and with what. Exits with 4 or 5 where one does not."""
    from server.display.progress import print_table
    from server.nodes.status import ask_all, status_table
    from server.runs.interrupts import run_until_signal

    statuses = run_until_signal(ask_all(Given(node, identity, insecure).addresses(), identity))
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in statuses]))
    else:
        print_table(status_table(statuses))
    failed = [one.error for one in statuses if one.error is not None]
    for error in failed:
        click.echo(f"error: {error}", err=True)
    return max((error.exit_code for error in failed), default=0)


@command(
    f"python -m server evaluate {TWO_NODES}",
    f"python -m server evaluate --model runs/20261122-170501-default {TWO_NODES} --json",
)
@federation_option
@node_option
@identity_option
@insecure_option
@model_option
@run_dir_option
@json_option
def evaluate(
    node: tuple[str, ...],
    identity: Path,
    insecure: bool,
    model: Path | None,
    run_dir: Path,
    as_json: bool,
) -> None:
    """Measure a saved model on the owners' held-out rows."""
    from server.display.progress import metrics_table, print_table
    from server.runs.evaluation_run import evaluate as run_evaluation
    from server.trained_model.saved_model import open_model

    nodes = Given(node, identity, insecure).addresses()
    folder, saved = open_model(model, run_dir)
    overall, each = run_evaluation(nodes, saved, identity)
    if as_json:
        by_node = {name: metrics.as_dict() for name, metrics in each.items()}
        answer = {"model": str(folder), "all": overall.as_dict(), "nodes": by_node}
        click.echo(json.dumps(answer))
    else:
        print_table(metrics_table(f"{folder} on held-out rows", each, overall))


@command(
    'python -m server predict "You have won a prize, call now"',
    "python -m server predict --json < messages.txt",
)
@click.argument("message", nargs=-1)
@model_option
@run_dir_option
@json_option
def predict(message: tuple[str, ...], model: Path | None, run_dir: Path, as_json: bool) -> None:
    """Classify a MESSAGE, or each line of standard input. Nothing leaves this machine."""
    from server.trained_model.prediction import Classifier, lines_as_they_come
    from server.trained_model.saved_model import open_model

    _, saved = open_model(model, run_dir)
    if not message and sys.stdin.isatty():
        click.echo("Type messages, one a line; Ctrl-D ends.", err=True)
    classifier = Classifier(saved)
    given = [os.fsencode(text).decode("utf-8", "replace") for text in message]
    for texts in [given] if given else lines_as_they_come(sys.stdin.buffer):
        for verdict in classifier.classify(texts):
            if as_json:
                click.echo(json.dumps(verdict.as_dict(), ensure_ascii=False))
            else:
                click.echo(f"{verdict.label:<4}  {verdict.spam:.4f}  {verdict.text}")


if __name__ == "__main__":
    run(main, "python -m server")
