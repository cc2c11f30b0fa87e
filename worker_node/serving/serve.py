"""Serving: the node from its start to its orderly end."""

from __future__ import annotations

import asyncio
import json
import logging
import platform
import sys
import threading
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import torch

from shared.cli import ending_signals
from shared.errors import Interrupted, describe_os_error
from shared.identity.folder import read_key
from shared.prometheus import Place
from shared.wire.timeouts import Timeouts
from shared.wire.transport import is_loopback
from worker_node.data.near_held_out import near_lines
from worker_node.data.shard import Shard
from worker_node.guarding.sealing_terms import find_sealing
from worker_node.guarding.set_up import Guarding, opened
from worker_node.membership.admission import Admission
from worker_node.node import DataOwnerNode
from worker_node.pointers.session_process import prepare as prepare_sessions
from worker_node.secure_aggregation.set_up import find_sums
from worker_node.serving.dialling import dialling
from worker_node.serving.door import Door
from worker_node.serving.freed_memory import give_back
from worker_node.serving.health import telling_health
from worker_node.serving.listener import listening_at
from worker_node.serving.when_to_stop import StopRule
from worker_node.training import KEEP_WORK_SECONDS
from worker_node.training.forked import ForkedTrainer, collect_again
from worker_node.training.trainer_process import TrainerProcess

log = logging.getLogger("fedsms.node")


@dataclass(frozen=True)
class ServeSettings:
    """How a node serves.

    listens: False opens no port; then it only dials out.
    dials: URLs of coordinators that it dials, for as long as it serves.
    tell_labels: False hides how many messages are spam.
    threads: torch threads of the training process, and of pointer operations.
    heartbeat: seconds of silence after which a coordinator counts as lost; 0 waits for ever.
    keep_work: seconds that a training goes on when the connection of whoever asked for it is
        lost; 0 gives it up at once.
    health_socket: where it tells its health; None tells nobody.
    runs, patience: when it stops by itself; see worker_node/serving/when_to_stop.py.
    admission: who is let in, over TLS; None lets in everybody, without TLS.
    page: serves the owner's page to browsers of this machine, and says where on standard error.
    metrics: where it serves figures for Prometheus; None serves none.
    trainer: its first trainer, where that was forked; None starts one.
    with_stdin: stops when standard input ends, as it does with whoever holds its other end.
    guarding: the owner's policy, and where the audit log and the counts of the day are kept.
    """

    node_id: str
    host: str = "127.0.0.1"
    port: int = 8777
    listens: bool = True
    dials: tuple[str, ...] = ()
    tell_labels: bool = True
    threads: int = 1
    heartbeat: float = 10.0
    keep_work: float = KEEP_WORK_SECONDS
    as_json: bool = False
    admission: Admission | None = None
    health_socket: Path | None = None
    runs: int = 0
    patience: float = 0
    guarding: Guarding = field(default_factory=Guarding)
    with_stdin: bool = False
    page: bool = False
    metrics: Place | None = None
    trainer: ForkedTrainer | None = None


async def serve(settings: ServeSettings, shard: Shard) -> None:
    """Serves until SIGINT, SIGTERM or SIGHUP, or until its stop rule says so.

    A training that runs then is stopped within some seconds (CLOSE_SECONDS and STOP_SECONDS), and
    the log says so.

    Raises:
        UsageError: it cannot listen there. NodeFailed: the training process does not start.
        Interrupted: it was stopped before it was ready.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in ending_signals():
        loop.add_signal_handler(number, stop.set)
    if settings.with_stdin:
        await _stop_with_stdin(stop)
    policy = settings.guarding.policy
    shard = replace(shard, most_scored=policy.most_scored_rows)
    kept_bytes = policy.most_kept_megabytes * 1_000_000
    trainer = TrainerProcess(shard, settings.threads, settings.trainer, kept_bytes)
    try:
        await _start(trainer, stop)
        stop_rule = StopRule(stop.set, settings.runs, settings.patience)
        async with opened(settings.guarding, settings.node_id, shard) as guard:
            torch.set_num_threads(settings.threads)
            node = DataOwnerNode(
                settings.node_id,
                shard,
                trainer,
                settings.tell_labels,
                guard,
                timeouts=Timeouts(heartbeat=settings.heartbeat),
                keep_work=settings.keep_work,
                sums=find_sums(settings.guarding),
                sealing=find_sealing(settings.guarding),
            )
            if guard.allows_sessions:
                prepare_sessions()
            await node.prepare()
            door = Door(node, settings.admission, stop_rule)
            async with AsyncExitStack() as stack:
                if settings.page:  # before anybody comes, whom it may be asked about
                    await _open_page(stack, settings, node)
                if settings.metrics is not None:
                    _open_metrics(stack, settings.metrics, node)
                url = ""
                if settings.listens:
                    listening = listening_at(door, settings.host, settings.port)
                    url = await stack.enter_async_context(listening)
                lines = await stack.enter_async_context(dialling(door, settings.dials))
                telling = telling_health(node, settings.health_socket, lines)
                await stack.enter_async_context(telling)
                stop_rule.begin()
                collect_again()
                give_back()
                _say_ready(settings, shard, url)
                await stop.wait()
                log.info("node %s stops%s", settings.node_id, _abandoned(node))
    finally:
        await trainer.close()


async def _open_page(stack: AsyncExitStack, settings: ServeSettings, node: DataOwnerNode) -> None:
    from worker_node.page.facts import Described
    from worker_node.page.owner_page import OwnerPage

    guarding, admission = settings.guarding, settings.admission
    key = read_key(guarding.identity).public_key() if guarding.identity is not None else None
    named = admission.coordinators if admission is not None else guarding.policy.coordinators
    described = Described(
        policy=str(guarding.policy_file or "the defaults"),
        audit_log=str(guarding.audit_log or "off"),
        coordinators=", ".join(sorted(named)) or "whoever comes: there is no TLS",
    )
    await stack.enter_async_context(OwnerPage(node, described, key, _say_page))


def _open_metrics(stack: AsyncExitStack, place: Place, node: DataOwnerNode) -> None:
    from shared.prometheus import new_registry, serving_metrics
    from worker_node.serving.node_metrics import NodeMetrics

    registry = new_registry()
    NodeMetrics(node, registry)
    stack.enter_context(serving_metrics(registry, place, _say_metrics))


def _say_metrics(address: str) -> None:
    click.echo(f"Metrics for Prometheus are at {address}", err=True)


def _say_page(address: str) -> None:
    click.echo(f"The owner's page is at {address}", err=True)


async def _stop_with_stdin(stop: asyncio.Event) -> None:
    """A program that starts nodes holds a pipe to each; the kernel closes it however that ends."""

    class Ending(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            stop.set()

    await asyncio.get_running_loop().connect_read_pipe(Ending, sys.stdin)


def _abandoned(node: DataOwnerNode) -> str:
    return f" and abandons what it does: {node.busy_with}" if node.busy_with else ""


async def _start(trainer: TrainerProcess, stop: asyncio.Event) -> None:
    """Starts the trainer, unless the owner stops the node first."""
    starting = asyncio.ensure_future(trainer.start())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        raise Interrupted("stopped before the node was ready")
    starting.result()


def _say_ready(settings: ServeSettings, shard: Shard, url: str) -> None:
    if settings.admission is not None:
        names = ", ".join(sorted(settings.admission.coordinators))
        log.info("only these coordinators may train here: %s", names)
    elif url and not is_loopback(settings.host):
        log.warning(
            "what goes over %s is not encrypted, and whoever reaches the port may train here: "
            "use it inside a network that you trust",
            url,
        )
    if "pointers" in settings.guarding.policy.modes:
        log.warning(
            "pointer operations are allowed: a coordinator may run tensor operations on your rows, "
            "and a malicious one may read much of them from what it is given back"
        )
    if "shared" in settings.guarding.policy.modes:
        names = ", ".join(settings.guarding.policy.shared.coordinators) or "nobody"
        log.info("computes on shares of what others keep secret, for %s", names)
    rows = {"train": len(shard.train), "held_out": len(shard.held_out)}
    try:
        click.echo(_ready(settings, rows, url))
    except OSError as error:  # nobody reads along; who serves needs no reader
        log.warning("standard output cannot be written: %s", describe_os_error(error))
    # beside the work: comparing takes seconds, and nobody need wait for it, here or at the end
    threading.Thread(target=_warn_of_near_held_out, args=(shard,), daemon=True).start()


def _warn_of_near_held_out(shard: Shard) -> None:
    for line in near_lines(shard):
        log.warning("%s", line)
    give_back()


def _ready(settings: ServeSettings, rows: dict[str, int], url: str) -> str:
    if settings.as_json:
        told = {"node": settings.node_id, "url": url or None, "dials": settings.dials}
        return json.dumps({**told, "rows": rows})
    at = f" at {url}" if url else ""
    first = (
        f"node {settings.node_id} is ready{at}: trains on {rows['train']:,} messages, "
        f"holds {rows['held_out']:,} out to measure with. Ctrl-C stops it."
    )
    lines = [first]
    if settings.dials:
        lines.append(f"It dials {', '.join(settings.dials)}, until a coordinator listens there.")
        lines.append(f"The coordinator takes it as:  --node {settings.node_id}")
    else:
        outside = _seen_from_outside(url)
        lines.append(f"The coordinator takes it as:  --node {settings.node_id}={outside}")
    return "\n".join(lines)


def _seen_from_outside(url: str) -> str:
    """The address with this machine's name where the node listens on all of its addresses."""
    for anywhere in ("0.0.0.0", "[::]"):  # noqa: S104 - told, not bound
        url = url.replace(f"//{anywhere}:", f"//{platform.node()}:")
    return url
