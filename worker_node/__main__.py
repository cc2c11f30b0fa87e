"""The data owner's command line.

    python -m worker_node check --data messages.tsv
    python -m worker_node init --id bob
    python -m worker_node join bob.pem
    python -m worker_node serve --data messages.tsv --host 0.0.0.0

`check` says what the node would hold and tell; `init` and `join` make it a member of a federation,
with the coordinator's owner in between; `serve` holds the messages and trains on them. They never
leave this machine: a coordinator sends a model, has it trained here, and gets the trained model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

# Nothing heavy at the top: `health` is asked every few seconds.
from shared.cli import HELP, GroupWithExamples, run, subcommand_of
from shared.errors import IdentityError, UsageError
from shared.version import FEDSMS
from worker_node.enrolment_commands import COMMANDS

if TYPE_CHECKING:
    from worker_node.admission import Admission
    from worker_node.dataset import Shard

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

DATA_OPTIONS = (
    click.option(
        "--data",
        required=True,
        type=click.Path(path_type=Path),
        envvar="FEDSMS_DATA",
        show_envvar=True,
        help="The owner's messages: .tsv (label, tab, text), .csv (label,text header) or .jsonl; "
        "or a folder that holds one such file called messages.*, and held-out.* if there is one.",
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


health_option = click.option(
    "--health-socket",
    type=click.Path(path_type=Path),
    envvar="FEDSMS_HEALTH_SOCKET",
    show_envvar=True,
    help="Path of a Unix socket at which the node tells its health.  [default: none]",
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
    """Raises DataError as owner_files and load_shard do."""
    from worker_node.data_folder import owner_files
    from worker_node.dataset import load_shard

    data, held_out_data = owner_files(data, held_out_data)
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
        "python -m worker_node init --id bob",
        "python -m worker_node join bob.pem",
        "python -m worker_node serve --data messages.tsv --host 0.0.0.0",
    ),
    context_settings=HELP,
)
@click.version_option(FEDSMS, prog_name="fedsms")
def main() -> None:
    """A data owner's node: trains models that coordinators send, on messages that stay here."""


command = subcommand_of(main)
for enrolment_command in COMMANDS:
    main.add_command(enrolment_command)


@command(
    "python -m worker_node serve --id bob --data messages.tsv",
    "python -m worker_node serve --data messages.csv --identity identity --host 0.0.0.0",
)
@click.option(
    "--id",
    "node_id",
    envvar="FEDSMS_ID",
    show_envvar=True,
    help="The owner's name.  [default: the name in the identity's certificate]",
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
@click.option(
    "--identity",
    type=click.Path(path_type=Path),
    envvar="FEDSMS_IDENTITY",
    show_envvar=True,
    help="Folder with the node's key and certificate; makes it serve with TLS.  "
    "[default: identity, where it is there]",
)
@click.option(
    "--coordinator",
    "coordinators",
    multiple=True,
    metavar="NAME",
    envvar="FEDSMS_COORDINATORS",
    show_envvar=True,
    help="A coordinator to work with; repeatable.  [default: those in coordinators.txt]",
)
@click.option(
    "--insecure",
    is_flag=True,
    envvar="FEDSMS_INSECURE",
    show_envvar=True,
    help="Serve without TLS: whoever reaches the port may train, and read along.",
)
@health_option
@click.option(
    "--runs",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    envvar="FEDSMS_RUNS",
    show_envvar=True,
    help="Stop after this many coordinators have trained and said goodbye; 0 serves on.",
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=0,
    show_default=True,
    envvar="FEDSMS_PATIENCE",
    show_envvar=True,
    metavar="SECONDS",
    help="Stop when no coordinator has been here for so long; 0 waits for ever.",
)
@click.option(
    "--allow",
    type=click.Choice(["pointers"]),
    multiple=True,
    envvar="FEDSMS_ALLOW",
    show_envvar=True,
    help="What else coordinators may do than rounds: pointers lets them run tensor operations on "
    "your rows, which tells them more.",
)
@click.option(
    "--heartbeat",
    type=click.FloatRange(min=0, max=1e6),
    default=10.0,
    show_default=True,
    envvar="FEDSMS_HEARTBEAT",
    show_envvar=True,
    help="Seconds of silence after which a coordinator counts as lost; 0: never.",
)
@click.option(
    "--keep-work",
    type=click.FloatRange(min=0, max=1e6),
    default=30.0,
    show_default=True,
    envvar="FEDSMS_KEEP_WORK",
    show_envvar=True,
    help="Seconds that a training goes on whose coordinator is lost, for its return; 0: none.",
)
@click.option("--json", "as_json", is_flag=True, help="Say the address as JSON.")
def serve(
    node_id: str | None,
    host: str,
    port: int,
    identity: Path | None,
    coordinators: tuple[str, ...],
    insecure: bool,
    threads: int,
    heartbeat: float,
    keep_work: float,
    health_socket: Path | None,
    runs: int,
    patience: float,
    allow: tuple[str, ...],
    hide_label_counts: bool,
    as_json: bool,
    **source: Any,
) -> None:
    """Hold an owner's messages, and train models on them for coordinators, until Ctrl-C."""
    from shared.handshake import check_node_id

    if node_id is not None:
        check_node_id(node_id)
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.INFO)
    logging.getLogger("syft").setLevel(logging.WARNING)  # says at import what it does without
    admission = _admission(node_id, identity, host, coordinators, insecure)
    own_id = node_id or (admission.node.id if admission else None)
    if own_id is None:
        raise UsageError("the node has no name", next_step="Give it one with --id ID.")
    shard = read_shard(**source)
    from worker_node.serving import ServeSettings
    from worker_node.serving import serve as run_server

    settings = ServeSettings(
        own_id,
        host,
        port,
        not hide_label_counts,
        threads,
        heartbeat=heartbeat,
        keep_work=keep_work,
        as_json=as_json,
        health_socket=health_socket,
        runs=runs,
        patience=patience,
        admission=admission,
        allow_pointers="pointers" in allow,
    )
    asyncio.run(run_server(settings, shard))


def _admission(
    node_id: str | None,
    folder: Path | None,
    host: str,
    coordinators: tuple[str, ...],
    insecure: bool,
) -> Admission | None:
    """Whom the node lets in; None where it serves without TLS."""
    from shared.handshake import check_node_id
    from worker_node.admission import find_identity, make_admission

    own = find_identity(folder, host, insecure)
    if own is None:
        return None
    if node_id not in (None, own.name.id):
        raise IdentityError(
            f"the identity in {own.folder} is not {node_id}'s",
            f"it is of {own.name}",
            "Give the other folder with --identity, or leave out --id.",
        )
    for warning in own.warnings():
        logging.getLogger("fedsms.node").warning("%s", warning)
    return make_admission(own, [check_node_id(name) for name in coordinators])


@command("python -m worker_node check --data messages.tsv")
@data_options
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def check(hide_label_counts: bool, as_json: bool, **source: Any) -> None:
    """Say what a node would hold and tell, without serving."""
    from worker_node.checking import describe

    click.echo(describe(read_shard(**source), not hide_label_counts, as_json))


@command(
    "python -m worker_node health --health-socket /run/bob.sock",
)
@health_option
def health(health_socket: Path | None) -> None:
    """Ask the node on this machine how it is; exits with 0 where it is well."""
    from worker_node.asking_health import ask_health

    if health_socket is None:
        raise UsageError(
            "no health socket is given",
            next_step="Name the one that the node serves with: --health-socket PATH.",
        )
    click.echo(ask_health(health_socket))


if __name__ == "__main__":
    run(main, "python -m worker_node")
