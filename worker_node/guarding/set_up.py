"""Guarding: the owner's policy, audit log and counts, from the node's start to its end."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from shared.errors import UsageError
from shared.files import is_present, read_bytes
from shared.identity.folder import Identity, load, read_key
from shared.identity.names import check_node_id
from worker_node.audit import AUDIT_LOG
from worker_node.audit.lines import Entry
from worker_node.audit.log import AuditLog, NoAudit
from worker_node.data.shard import Shard
from worker_node.guarding.countersigning import Countersigning
from worker_node.guarding.day_counts import DayCounts
from worker_node.guarding.guard import Guard, Who
from worker_node.guarding.kept_models import MODELS, KeptModels
from worker_node.guarding.leak_receipts import LeakReceipts
from worker_node.guarding.participation import Participation
from worker_node.guarding.policy import Mode, Policy
from worker_node.guarding.policy_file import find_policy
from worker_node.guarding.private_releases import PrivateReleases
from worker_node.privacy.chain_file import read_chain
from worker_node.privacy.ledger import LEDGER, Ledger, results_of
from worker_node.privacy.receipts import RECEIPTS, ReceiptFile

OFF = Path("off")
COUNTS = "counts.json"
OLD_COUNTS = "standing.json"
"""What the file was called before; one that is there goes on."""
PARTICIPATION = "participation.json"

log = logging.getLogger("fedsms.node")


@dataclass(frozen=True)
class Guarding:
    """What a node guards itself with.

    policy_file: where the policy was read; None has the defaults.
    audit_log: None keeps none. counts: None keeps the counts of the day in memory alone.
    identity: whose key signs the log's anchor; None leaves it unsigned.
    models: folder for models that are handed out; None keeps them beside the counts.
    """

    policy: Policy = field(default_factory=Policy)
    policy_file: Path | None = None
    audit_log: Path | None = None
    counts: Path | None = None
    identity: Path | None = None
    models: Path | None = None

    def working_with(self, coordinators: Sequence[str]) -> Guarding:
        """The same for coordinators that go before the policy's; none leaves it to the policy.

        Raises UsageError for what is no name.
        """
        names = tuple(map(check_node_id, coordinators)) or self.policy.coordinators
        return replace(self, policy=self.policy.model_copy(update={"coordinators": names}))


def find_guarding(
    policy: Path | None,
    audit_log: Path | None,
    own: Identity | None,
    node_id: str,
    allow: Sequence[Mode] = (),
    counts: Path | None = None,
    models: Path | None = None,
) -> Guarding:
    """From the flags of `serve`, and what lies in the identity folder.

    Args:
        allow: modes beside those of the policy.
        counts: file for the day's counts; None keeps them beside the audit log, and where that is
            off in the identity folder.
        models: folder for models that are handed out; None has it beside those counts.

    Raises UsageError for a policy that cannot be read, or is none.
    """
    folder = own.folder if own is not None else None
    counts = _counts_file(counts) if counts is not None else None
    found, file = find_policy(policy, folder)
    modes = tuple(dict.fromkeys((*found.modes, *allow)))
    found = found.model_copy(update={"modes": modes})
    if audit_log == OFF:
        writable = folder is not None and os.access(folder, os.W_OK)
        kept = _counts_file(folder / COUNTS) if folder is not None and writable else None
        return Guarding(found, file, None, counts or kept, folder, models)
    if audit_log is None and folder is not None:
        kept = _counts_file(folder / COUNTS)
        return Guarding(found, file, folder / AUDIT_LOG, counts or kept, folder, models)
    # the identity folder may be one that only it can be read from
    audit_log = audit_log or Path(f"{node_id}.{AUDIT_LOG}")
    beside = _counts_file(audit_log.with_suffix(f".{COUNTS}"))
    return Guarding(found, file, audit_log, counts or beside, folder, models)


def _counts_file(path: Path) -> Path:
    """The file, or the one of its older name where that one is there."""
    if not path.name.endswith(COUNTS):
        return path
    older = path.with_name(path.name.removesuffix(COUNTS) + OLD_COUNTS)
    return older if is_present(older) and not is_present(path) else path


@asynccontextmanager
async def opened(guarding: Guarding, node_id: str, shard: Shard) -> AsyncIterator[Guard]:
    """A node's guard; its log is open while the context lasts.

    Raises StorageError where the log or the counts cannot be kept.
    """
    counts = DayCounts(guarding.counts)
    audit: AuditLog | NoAudit = NoAudit()
    ledger = Ledger()
    try:
        audit = _open_log(guarding)
        ledger = _open_ledger(guarding)
        guard = Guard(
            guarding.policy,
            audit,
            counts,
            countersigning=_countersigning(guarding, audit),
            releases=PrivateReleases(guarding.policy.differential_privacy, ledger),
            receipts=LeakReceipts(guarding.policy.leak, _receipt_file(guarding)),
            models=KeptModels(models_of(guarding)),
        )
        _tell(guarding, shard)
        counts.warn_of_days_to_come(guarding.policy.hours.now())
        started = Entry("start", detail=f"node {node_id}, {_policy_in_words(guarding)}")
        await guard.record(Who(), started)
        yield guard
        await guard.record(Who(), Entry("stop", detail=f"node {node_id}"))
    finally:
        if isinstance(audit, AuditLog):
            await audit.close()
        ledger.close()
        counts.close()


def _open_log(guarding: Guarding) -> AuditLog | NoAudit:
    if guarding.audit_log is None:
        return NoAudit()
    key = read_key(guarding.identity) if guarding.identity is not None else None
    return AuditLog(guarding.audit_log, key)


def _open_ledger(guarding: Guarding) -> Ledger:
    path = ledger_of(guarding)
    if path is None:
        if guarding.policy.differential_privacy.is_on:
            raise UsageError(
                "the policy sets a privacy budget, and there is no place to keep count of it",
                "rule differential_privacy.epsilon; the node keeps no counts",
                "Give it an identity folder that it may write to, or a file with --counts.",
            )
        return Ledger()
    key = read_key(guarding.identity) if guarding.identity is not None else None
    if guarding.identity is not None:
        _check_no_other_ledger(path, guarding.identity / LEDGER)
    return Ledger(path, key)


def _check_no_other_ledger(path: Path, usual: Path) -> None:
    """Where another flag has the node keep its files elsewhere, a budget must not begin anew."""
    if path == usual or is_present(path) or not is_present(usual):
        return
    if read_chain(usual, None)[0]:
        raise UsageError(
            f"this node's privacy ledger is {usual}, and it would begin another at {path}",
            "what coordinators were told with noise counts for ever",
            f"Serve without --counts and --audit-log; or move {usual.name}, {usual.name}.anchor "
            f"and {results_of(usual).name} to {path}, {path}.anchor and {results_of(path)}.",
        )


def ledger_of(guarding: Guarding) -> Path | None:
    """Where the privacy ledger is: beside the counts of the day; None where there are none."""
    return ledger_beside(guarding.counts) if guarding.counts is not None else None


def models_of(guarding: Guarding) -> Path | None:
    """Where handed-out models are kept; None where there is no place for them."""
    if guarding.models is not None or guarding.counts is None:
        return guarding.models
    return models_beside(guarding.counts)


def models_beside(counts: Path) -> Path:
    """The folder of handed-out models that belongs to a file of counts."""
    return counts.with_name(f"{_prefix(counts)}{MODELS}")


def ledger_beside(counts: Path) -> Path:
    """The privacy ledger that belongs to a file of counts."""
    return counts.with_name(f"{_prefix(counts)}{LEDGER}")


def _receipt_file(guarding: Guarding) -> ReceiptFile:
    path = receipts_beside(guarding.counts) if guarding.counts is not None else None
    return ReceiptFile(path if guarding.policy.leak.receipts else None)


def receipts_beside(counts: Path) -> Path:
    """The leak receipts that belong to a file of counts."""
    return counts.with_name(f"{_prefix(counts)}{RECEIPTS}")


def _countersigning(guarding: Guarding, audit: AuditLog | NoAudit) -> Countersigning:
    """Without an identity there is no key, and nothing to remember for it."""
    folder, counts = guarding.identity, guarding.counts
    if folder is None:
        return Countersigning()
    kept = None
    if counts is not None:
        kept = counts.with_name(f"{_prefix(counts)}{PARTICIPATION}")
    return Countersigning(
        Participation(kept),
        lambda: load(folder, "node"),
        _policy_in_words(guarding),
        lambda: audit.place if isinstance(audit, AuditLog) else None,
    )


def _prefix(counts: Path) -> str:
    """What the names of an owner's files begin with: nothing in an identity folder.

    They must not change with the name that the counts have: beside a ledger of another name, a
    budget that was spent would begin anew.
    """
    for name in (COUNTS, OLD_COUNTS):
        if counts.name.endswith(name):
            return counts.name.removesuffix(name)
    return f"{counts.stem}."


def _policy_in_words(guarding: Guarding) -> str:
    """So that a reader of the log sees under which policy the lines that follow were decided."""
    if guarding.policy_file is None:
        return "default policy"
    return f"policy sha256 {hashlib.sha256(read_bytes(guarding.policy_file)).hexdigest()}"


def _tell(guarding: Guarding, shard: Shard) -> None:
    """What the owner should know at the start."""
    policy = guarding.policy
    log.info("policy: %s", guarding.policy_file or "the defaults")
    log.info("audit log: %s", guarding.audit_log or "off, as you asked")
    log.info("counts of the day: %s", guarding.counts or "in memory, until the node stops")
    if len(shard.train) < policy.fewest_rows:
        log.warning("the policy has it refuse to train: fewer rows than fewest_rows")
    for line in shard.scored_lines():
        log.info("%s", line)
    if len(shard.scored) < policy.fewest_held_out_rows:
        log.warning("the policy has it refuse to evaluate: fewer rows than fewest_held_out_rows")
    if policy.coordinators and guarding.identity is None:
        log.warning("without TLS nothing proves that a coordinator is one of the policy's")
