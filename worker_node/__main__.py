"""The data owner's command line.

    python -m worker_node check --data messages.tsv
    python -m worker_node serve --id bob --data messages.tsv --port 8777

`check` says what the node would hold and tell; `serve` does it. The messages never leave this
machine: a coordinator sends a model, has it trained here, and gets the trained model back.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from shared.cli import HELP, GroupWithExamples, run, subcommand_of
from shared.errors import UsageError
from shared.handshake import NODE_ID_PATTERN, NODE_ID_RULE
from shared.version import FEDSMS
from worker_node.dataset import Shard, load_shard

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

DATA_OPTIONS = (
    click.option(
        "--data",
        required=True,
        type=click.Path(path_type=Path),
        envvar="FEDSMS_DATA",
        show_envvar=True,
        help="The owner's messages: .tsv (label, tab, text), .csv (label,text header) or .jsonl.",
    ),
    click.option(
        "--held-out-data",
        type=click.Path(path_type=Path),
        envvar="FEDSMS_HELD_OUT_DATA",
        show_envvar=True,
        help="File of rows to measure with; then all of --data is trained on.",
    ),
    click.option(
        "--held-out",
        type=click.FloatRange(min=0, max=1, max_open=True),
        default=0.2,
        show_default=True,
        envvar="FEDSMS_HELD_OUT",
        show_envvar=True,
        help="Else the share of --data that is held out; 0 holds nothing out.",
    ),
    click.option("--skip-bad-lines", is_flag=True, help="Count bad lines instead of stopping."),
    click.option(
        "--allow-one-class", is_flag=True, help="Serve even where all rows are ham, or all spam."
    ),
    click.option(
        "--hide-label-counts",
        is_flag=True,
        help="Tell numbers of spam only as evaluation does, of held-out messages.",
    ),
)


def data_options(function: Decorated) -> Decorated:
    """The options that say what the node holds."""
    for option in reversed(DATA_OPTIONS):
        function = option(function)
    return function


def read_shard(
    data: Path,
    held_out_data: Path | None,
    held_out: float,
    skip_bad_lines: bool,
    allow_one_class: bool,
) -> Shard:
    """Raises DataError as load_shard does."""
    return load_shard(
        data,
        held_out_file=held_out_data,
        held_out_fraction=held_out,
        skip_bad_lines=skip_bad_lines,
        allow_one_class=allow_one_class,
    )


@click.group(
    cls=GroupWithExamples,
    examples=(
        "python -m worker_node check --data messages.tsv",
        "python -m worker_node serve --id bob --data messages.tsv",
    ),
    context_settings=HELP,
)
@click.version_option(FEDSMS, prog_name="fedsms")
def main() -> None:
    """A data owner's node: trains models that coordinators send, on messages that stay here."""


command = subcommand_of(main)


@command(
    "python -m worker_node serve --id bob --data messages.tsv",
    "python -m worker_node serve --id bob --data messages.csv --host 0.0.0.0 --port 8777",
)
@click.option(
    "--id", "node_id", required=True, envvar="FEDSMS_ID", show_envvar=True, help="The owner's name."
)
@data_options
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    envvar="FEDSMS_HOST",
    show_envvar=True,
    help="Where to listen.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8777,
    show_default=True,
    envvar="FEDSMS_PORT",
    show_envvar=True,
    help="0 takes a free one.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Torch threads of the training process; a small model gains nothing from more.",
)
@click.option("--json", "as_json", is_flag=True, help="Say the address as JSON.")
def serve(
    node_id: str,
    host: str,
    port: int,
    threads: int,
    hide_label_counts: bool,
    as_json: bool,
    **source: Any,
) -> None:
    """Hold an owner's messages, and train models on them for coordinators, until Ctrl-C."""
    if not re.fullmatch(NODE_ID_PATTERN, node_id):
        raise UsageError(f"{node_id!r} cannot be a node id", NODE_ID_RULE)
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.INFO)
    logging.getLogger("syft").setLevel(logging.WARNING)  # says at import what it does without
    shard = read_shard(**source)
    from worker_node.serving import ServeSettings
    from worker_node.serving import serve as run_server

    settings = ServeSettings(
        node_id, host, port, not hide_label_counts, threads=threads, as_json=as_json
    )
    asyncio.run(run_server(settings, shard))


@command("python -m worker_node check --data messages.tsv")
@data_options
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def check(hide_label_counts: bool, as_json: bool, **source: Any) -> None:
    """Say what a node would hold and tell, without serving."""
    from worker_node.checking import describe

    click.echo(describe(read_shard(**source), not hide_label_counts, as_json))


if __name__ == "__main__":
    run(main, "python -m worker_node")
