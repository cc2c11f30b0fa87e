"""`python -m worker_node serve`: from its flags to a node that serves."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from shared.cli import command
from shared.errors import IdentityError, UsageError
from shared.extras import IN_IMAGE
from worker_node.cli.options import SOURCE, serve_options
from worker_node.cli.printing import begin_log
from worker_node.cli.reading import read_shard, skipped_lines

if TYPE_CHECKING:
    from shared.identity.folder import Identity
    from shared.prometheus import Place
    from worker_node.data.shard import Shard
    from worker_node.guarding.policy import Mode
    from worker_node.membership.admission import Admission


LOOPBACK = "127.0.0.1"


@command(
    "serve",
    "python -m worker_node serve --id bob --data messages.tsv",
    "python -m worker_node serve --data messages.csv --identity identity --host 0.0.0.0",
    "python -m worker_node serve --data messages.tsv --dial wss://coordinator.example:8770",
    "python -m worker_node serve --data messages.tsv --page",
)
@serve_options
@click.option("--json", "as_json", is_flag=True, help="Say the address as JSON.")
def serve(
    node_id: str | None,
    identity: Path | None,
    coordinators: tuple[str, ...],
    insecure: bool,
    dials: tuple[str, ...],
    allow: tuple[Mode, ...],
    hide_label_counts: bool,
    policy: Path | None,
    audit_log: Path | None,
    counts: Path | None,
    models: Path | None,
    **others: Any,
) -> None:
    """Hold an owner's messages, and train models on them for coordinators, until Ctrl-C."""
    from shared.identity.folder import DEFAULT
    from shared.identity.names import check_node_id
    from shared.wire.urls import check_url
    from worker_node.membership.admission import check_dials
    from worker_node.membership.dials import read_dials

    if node_id is not None:
        check_node_id(node_id)
    if others["page"]:
        _check_page()
    if others["metrics"] is not None:
        others["metrics"] = _metrics_place(others["metrics"])
    begin_log()
    from worker_node.training.forked import fork_trainer

    others["trainer"] = fork_trainer(others["threads"])
    from worker_node.guarding.set_up import find_guarding

    urls = tuple(dict.fromkeys(check_url(url, "a coordinator") for url in dials))
    if not urls and not insecure:
        urls = tuple(read_dials(identity or DEFAULT))
    listens = not urls or _is_given("host", "port")
    own = _identity(node_id, identity, others["host"] if listens else LOOPBACK, insecure)
    check_dials(urls, own, insecure)
    guarding = find_guarding(policy, audit_log, own, node_id or "node", allow, counts, models)
    guarding = guarding.working_with(coordinators)
    admission = _admission(own, guarding.policy.coordinators)
    own_id = node_id or (admission.node.id if admission else None)
    if own_id is None:
        raise UsageError("the node has no name", next_step="Give it one with --id ID.")
    shard = read_shard(**{name: others.pop(name) for name in SOURCE})
    log = logging.getLogger("fedsms.node")
    for line in shard.described:
        log.info("%s", line)
    for line in skipped_lines(shard):
        log.warning("%s", line)
    tell_labels = guarding.policy.tell_label_counts and not hide_label_counts
    others |= {"admission": admission, "guarding": guarding, "listens": listens, "dials": urls}
    _run(own_id, shard, tell_labels=tell_labels, **others)


def _metrics_place(text: str) -> Place:
    from shared.prometheus import check_installed, parse_place

    check_installed()
    return parse_place(text)


def _check_page() -> None:
    """Raises UsageError where no browser could reach a page of the loopback interface."""
    if IN_IMAGE in os.environ:
        raise UsageError(
            "--page does not go with a node in a container",
            "the page is of the loopback interface, and a container has one of its own",
            "Look from inside, with docker exec: python -m worker_node log --follow, and budget; "
            "or serve without a container.",
        )


def _is_given(*names: str) -> bool:
    """True where the owner said one of these flags, or set its variable."""
    source = click.get_current_context().get_parameter_source
    return any(source(name) is not ParameterSource.DEFAULT for name in names)


def _run(node_id: str, shard: Shard, **settings: Any) -> None:
    """Serves; flags that need nothing done to them are fields of ServeSettings by name."""
    import asyncio

    from worker_node.serving.serve import ServeSettings
    from worker_node.serving.serve import serve as run_server

    asyncio.run(run_server(ServeSettings(node_id, **settings), shard))


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
    from worker_node.membership.admission import make_admission

    return make_admission(own, coordinators) if own is not None else None
