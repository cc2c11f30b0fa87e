"""Node: a data owner's node in a script, a notebook or a program of the owner's."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared import errors
from shared.errors import FedsmsError, IdentityError, NodeFailed, UsageError
from shared.identity.folder import Identity, load
from shared.identity.names import check_node_id
from shared.model.recipe import explain
from shared.wire.transport import is_loopback
from shared.wire.urls import check_url
from worker_node.data.given_rows import Rows, shard_given
from worker_node.data.shard import Message, Shard
from worker_node.embedding.description import Description
from worker_node.guarding.policy import Policy
from worker_node.guarding.set_up import OFF, Guarding, find_guarding
from worker_node.membership.admission import check_dials
from worker_node.training import KEEP_WORK_SECONDS

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0
"""How long a node may take to load torch and PySyft; then it counts as broken."""
STOP_SECONDS = 15.0
"""How long it may take to stop in good order; then it is ended."""
KEPT_LINES = 200
"""Lines of its log that a Node remembers."""


class Node:
    """A data owner's node, as a process of this machine that a coordinator dials.

    It starts with `start`, or in a `with` block, and ends with it; `address` waits until it serves,
    so several start at the same time. It serves on this machine alone, without TLS, unless it has
    an identity. Its methods may be called from any thread.

    Args:
        id: the owner's name in the federation; None takes that of the identity.
        messages: the owner's rows; they go to the node over a pipe, and to no disk.
        data: or the file that holds them, as `python -m worker_node serve --data` takes it.
        held_out: share of the rows to measure with and never train on, 0 to below 1; or rows, or a
            file of them, and then all of the others are trained on.
        policy: a policy.toml, or its tables as a mapping; None looks where `serve` does.
        identity: folder with the node's key and certificate; makes it serve with TLS.
        coordinators: names to let in; none takes those of the policy, or of coordinators.txt.
        host, port: where it listens; port 0 takes a free one.
        dial: URLs of coordinators that it dials; then it listens nowhere, and its address is "".
        audit_log: None keeps it in the identity folder, and without one keeps none.
        models: folder for models that coordinators hand out, for `predict --models`; None has it
            in the identity folder, or beside the audit log, and with neither takes no model.
        pointers: True also allows pointer operations, which tell a coordinator more.
        allow_one_class: accepts training rows that are all ham or all spam.
        insecure: serve without TLS although other machines can reach it.
        threads: of the training process.
        heartbeat: seconds of silence after which a coordinator counts as lost; 0 waits for ever.
        keep_work: seconds that a training goes on whose coordinator is lost; 0 gives it up at once.

    Raises:
        DataError: the rows are missing, malformed, or of one class.
        UsageError, IdentityError: an argument is wrong, or the policy or the identity unfit.
    """

    def __init__(
        self,
        id: str | None = None,  # noqa: A002 - what it is called everywhere
        messages: Rows | None = None,
        *,
        data: str | Path | None = None,
        held_out: float | str | Path | Rows = 0.2,
        policy: str | Path | Mapping[str, Any] | None = None,
        identity: str | Path | None = None,
        coordinators: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        dial: Sequence[str] = (),
        audit_log: str | Path | None = None,
        models: str | Path | None = None,
        pointers: bool = False,
        allow_one_class: bool = False,
        insecure: bool = False,
        threads: int = 1,
        heartbeat: float = 10.0,
        keep_work: float = KEEP_WORK_SECONDS,
    ) -> None:
        urls = [check_url(url, "a coordinator") for url in dial]
        own = _identity(id, identity, host if not urls else "127.0.0.1", insecure)
        check_dials(urls, own, insecure)
        self.id = check_node_id(own.name.id if own is not None else id or "")
        guarding = _guarding(self.id, own, policy, audit_log, pointers).working_with(coordinators)
        if models is not None:
            guarding = replace(guarding, models=Path(models))
        source = held_out if not isinstance(held_out, str) else Path(held_out)
        data = Path(data) if data is not None else None
        self.shard: Shard = shard_given(messages, data, source, allow_one_class)
        self.log: deque[str] = deque(maxlen=KEPT_LINES)
        self._described = Description(
            self.id,
            _rows(self.shard.train),
            _rows(self.shard.held_out),
            host,
            port,
            urls,
            guarding.policy.model_dump_json(),
            _absolute(guarding.policy_file),
            _absolute(guarding.audit_log),
            _absolute(guarding.counts),
            _absolute(guarding.identity),
            _absolute(guarding.models),
            guarding.policy.coordinators,
            guarding.policy.tell_label_counts,
            threads,
            heartbeat,
            keep_work,
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: Future[str] = Future()

    @property
    def address(self) -> str:
        """Where a coordinator dials it, "" where it dials out; waits until it serves.

        Raises:
            UsageError: it has not started, or cannot listen there.
            FedsmsError: what else kept it from serving.
        """
        if self._process is None:
            raise UsageError(
                f"node {self.id} has not started",
                next_step="Call start(), or use it in a with block.",
            )
        try:
            return self._ready.result(START_SECONDS)
        except TimeoutError:
            self.stop()
            raise NodeFailed(f"node {self.id} was not ready in {START_SECONDS:g} s") from None

    def start(self) -> Node:
        """Starts it, and does not wait; gives itself. Idempotent while it runs."""
        if self._process is not None:
            return self
        self._ready = Future()
        self._process = subprocess.Popen(  # noqa: S603  # this file's own command
            [sys.executable, "-m", "worker_node.embedding.child", str(self._described.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            # Ctrl-C is for the program, which stops its nodes in order.
            process_group=0,
        )
        for work in (_describe, _keep_log, _await_address):
            arguments = (self._process, self._described, self.log, self._ready)
            threading.Thread(target=work, args=arguments, daemon=True).start()
        return self

    def stop(self) -> None:
        """Ends it in good order, or else at once. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def serve_forever(self) -> None:
        """Serves until it is stopped by another thread, or by Ctrl-C, which it hands on.

        Raises:
            KeyboardInterrupt: after it has stopped in good order.
            FedsmsError: what it ended with by itself.
        """
        process = self.start()._process
        try:
            assert self.address
            assert process is not None
            process.wait()
            if self._process is process:
                raise NodeFailed(
                    f"node {self.id} ended with code {process.returncode}",
                    "\n".join(list(self.log)[-5:]),
                )
        finally:
            self.stop()

    def __enter__(self) -> Node:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        rows = f"{len(self.shard.train):,} + {len(self.shard.held_out):,} messages"
        return f"Node({self.id!r}, {rows})"


def _identity(
    node_id: str | None, folder: str | Path | None, host: str, insecure: bool
) -> Identity | None:
    """What it proves itself with; None where it serves without TLS."""
    if folder is None:
        if not is_loopback(host) and not insecure:
            raise UsageError(
                f"at {host} the node would be reached from other machines without TLS",
                next_step="Give it its identity folder; insecure=True serves without.",
            )
        return None
    own = load(Path(folder), "node")
    if node_id not in (None, own.name.id):
        raise IdentityError(
            f"the identity in {own.folder} is not {node_id}'s", f"it is of {own.name}"
        )
    return own


def _guarding(
    node_id: str,
    own: Identity | None,
    policy: str | Path | Mapping[str, Any] | None,
    audit_log: str | Path | None,
    pointers: bool,
) -> Guarding:
    log = Path(audit_log) if audit_log is not None else None
    if log is None and own is None:
        log = OFF
    file = Path(policy) if isinstance(policy, str | Path) else None
    found = find_guarding(file, log, own, node_id, ("pointers",) if pointers else ())
    if not isinstance(policy, Mapping):
        return found
    try:
        given = Policy.model_validate(dict(policy))
    except ValidationError as error:
        problems = "; ".join(explain(Policy, item) for item in error.errors())
        raise UsageError("the policy given is not valid", problems) from error
    modes = tuple(dict.fromkeys((*given.modes, *(("pointers",) if pointers else ()))))
    return replace(found, policy=given.model_copy(update={"modes": modes}), policy_file=None)


def _rows(messages: Sequence[Message]) -> list[tuple[int, str]]:
    return [(message.label, message.text) for message in messages]


def _absolute(path: Path | None) -> str | None:
    return str(path.absolute()) if path is not None else None


def _describe(process: subprocess.Popen[bytes], described: Description, *_: object) -> None:
    """In a thread of its own: the child takes the rows once it has loaded, which takes a while."""
    assert process.stdin is not None
    try:
        process.stdin.write(described.to_json())
        process.stdin.flush()
    except (OSError, ValueError):  # it ended, or was stopped: `address` says how
        return


def _keep_log(
    process: subprocess.Popen[bytes], _: Description, log: deque[str], *__: object
) -> None:
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            log.append(line.decode("utf-8", "replace").rstrip())


def _await_address(
    process: subprocess.Popen[bytes],
    described: Description,
    log: deque[str],
    ready: Future[str],
) -> None:
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
    try:
        told = json.loads(line)
    except ValueError:
        process.wait()
        cause = "\n".join(list(log)[-20:])
        ready.set_exception(NodeFailed(f"node {described.node_id} did not start", cause))
        return
    if "url" in told:
        ready.set_result(told["url"] or "")
    else:
        ready.set_exception(_error_of(told))


def _error_of(told: Mapping[str, Any]) -> FedsmsError:
    kind = getattr(errors, told["error"], FedsmsError)
    error = kind(*told["parts"])
    assert isinstance(error, FedsmsError)
    return error
