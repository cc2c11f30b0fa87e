"""The data owner's command line.

    python -m worker_node check --data messages.tsv
    python -m worker_node init --id bob
    python -m worker_node join bob.pem
    python -m worker_node serve --data messages.tsv --host 0.0.0.0
    python -m worker_node log --since 2h

`check` says what the node would hold and tell; `init` and `join` make it a member of a federation,
with the coordinator's owner in between; `serve` holds the messages and trains on them. They never
leave this machine: a coordinator sends a model, has it trained here, and gets the trained model.
`log` shows what coordinators asked for, and what left the node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

# Nothing heavy at the top: `health` is asked every few seconds.
from shared.cli import HELP, GroupWithExamples, run, subcommand_of
from shared.errors import IdentityError, UsageError
from shared.version import FEDSMS
from worker_node.cli.log import show_log
from worker_node.cli.membership import COMMANDS
from worker_node.cli.options import data_options, health_option, serve_options
from worker_node.cli.printing import begin_log

if TYPE_CHECKING:
    from shared.identity.folder import Identity
    from worker_node.data.shard import Shard
    from worker_node.guarding.policy import Mode
    from worker_node.membership.admission import Admission


def read_shard(
    data: Path,
    held_out_data: Path | None,
    held_out: float,
    skip_bad_lines: bool,
    allow_one_class: bool,
) -> Shard:
    """Raises DataError as owner_files and load_shard do."""
    from worker_node.data.folder import owner_files
    from worker_node.data.shard import load_shard

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
        "python -m worker_node log --since 2h",
    ),
    context_settings=HELP,
)
@click.version_option(FEDSMS, prog_name="fedsms")
def main() -> None:
    """A data owner's node: trains models that coordinators send, on messages that stay here."""


command = subcommand_of(main)
for further_command in (*COMMANDS, show_log):
    main.add_command(further_command)


@command(
    "python -m worker_node serve --id bob --data messages.tsv",
    "python -m worker_node serve --data messages.csv --identity identity --host 0.0.0.0",
)
@serve_options
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
    allow: tuple[Mode, ...],
    hide_label_counts: bool,
    policy: Path | None,
    audit_log: Path | None,
    standing: Path | None,
    as_json: bool,
    **source: Any,
) -> None:
    """Hold an owner's messages, and train models on them for coordinators, until Ctrl-C."""
    from shared.identity.names import check_node_id

    if node_id is not None:
        check_node_id(node_id)
    begin_log()
    from worker_node.guarding.set_up import find_guarding

    own = _identity(node_id, identity, host, insecure)
    guarding = find_guarding(policy, audit_log, own, node_id or "node", allow, standing)
    admission = _admission(own, coordinators or guarding.policy.coordinators)
    own_id = node_id or (admission.node.id if admission else None)
    if own_id is None:
        raise UsageError("the node has no name", next_step="Give it one with --id ID.")
    shard = read_shard(**source)
    from worker_node.serving.serve import ServeSettings
    from worker_node.serving.serve import serve as run_server

    tell_labels = guarding.policy.tell_label_counts and not hide_label_counts
    settings = ServeSettings(
        own_id,
        host,
        port,
        tell_labels,
        threads,
        heartbeat=heartbeat,
        keep_work=keep_work,
        as_json=as_json,
        admission=admission,
        health_socket=health_socket,
        runs=runs,
        patience=patience,
        guarding=guarding,
    )
    asyncio.run(run_server(settings, shard))


def _identity(
    node_id: str | None, folder: Path | None, host: str, insecure: bool
) -> Identity | None:
    """What the node proves itself with; None where it serves without TLS."""
    from worker_node.membership.admission import find_identity

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
    return own


def _admission(own: Identity | None, coordinators: Sequence[str]) -> Admission | None:
    """Whom the node lets in; None where it serves without TLS."""
    from shared.identity.names import check_node_id
    from worker_node.membership.admission import make_admission

    if own is None:
        return None
    return make_admission(own, [check_node_id(name) for name in coordinators])


@command("python -m worker_node check --data messages.tsv")
@data_options
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def check(hide_label_counts: bool, as_json: bool, **source: Any) -> None:
    """Say what a node would hold and tell, without serving."""
    from worker_node.cli.check import describe

    click.echo(describe(read_shard(**source), not hide_label_counts, as_json))


@command(
    "python -m worker_node health --health-socket /run/bob.sock",
)
@health_option
def health(health_socket: Path | None) -> None:
    """Ask the node on this machine how it is; exits with 0 where it is well."""
    from worker_node.cli.health import ask_health

    if health_socket is None:
        raise UsageError(
            "no health socket is given",
            next_step="Name the one that the node serves with: --health-socket PATH.",
        )
    click.echo(ask_health(health_socket))


if __name__ == "__main__":
    run(main, "python -m worker_node")
