"""The guard: applies the owner's policy to what a session asks for, and keeps the audit log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from shared.errors import FedsmsError, NodeFailed, PolicyRefused, StorageError
from shared.model.recipe import Recipe
from shared.passport.statements import Countersignature
from shared.quoting import MAX_QUOTED, escaped, quoted
from shared.secure_aggregation.contents import recipe_digest, state_digest
from shared.wire.commands import (
    HAND_OUT,
    CompareCommand,
    CountersignCommand,
    EvaluateCommand,
    HandOutCommand,
    ProposeCommand,
    TrainCommand,
)
from worker_node.audit.lines import Entry
from worker_node.audit.log import Audit, NoAudit
from worker_node.data.shard import Shard
from worker_node.guarding.countersigning import Countersigning
from worker_node.guarding.day_counts import Counted, DayCounts
from worker_node.guarding.kept_models import KeptModels
from worker_node.guarding.leak_receipts import LeakReceipts
from worker_node.guarding.model_keeper import ModelKeeper
from worker_node.guarding.owner import Owner
from worker_node.guarding.owner_prompt import Terminal
from worker_node.guarding.pace import Pace
from worker_node.guarding.pause import Pause
from worker_node.guarding.policy import Mode, Policy, Question, refusal
from worker_node.guarding.private_releases import PrivateReleases
from worker_node.guarding.rules.pointers import BITS_A_NUMBER

if TYPE_CHECKING:  # it loads torch
    from shared.model.vectors import Vector

log = logging.getLogger("fedsms.node")

_COUNTED: Mapping[Mode, Counted] = {
    "train": "rounds",
    "evaluate": "evaluations",
    "compare": "comparisons",
}
_BLOCK = 64  # numbers that are counted in one go, so that not each of them is a write
_FRAME_ROOM = 2**20
"""Bytes of a message beside the model in it: a recipe, ids, what PySyft adds."""


@dataclass
class Who:
    """The other side of a connection.

    name: of its certificate, or without TLS what it calls itself. certificate: fingerprint; ""
    without TLS. said_yes: what the owner has said yes to, on this connection.
    """

    address: str = ""
    name: str = ""
    certificate: str = ""
    said_yes: set[str] = field(default_factory=set)


class Guard:
    """One node's policy, log, memory of coordinators and owner.

    Attributes:
        pause: the owner's; `pause_begins` and `pause_ends` write it down too.
        on_record: called with each line that was written to the log, or would have been.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        audit: Audit | None = None,
        counts: DayCounts | None = None,
        terminal: Terminal | None = None,
        pace: Pace | None = None,
        countersigning: Countersigning | None = None,
        releases: PrivateReleases | None = None,
        receipts: LeakReceipts | None = None,
        models: KeptModels | None = None,
    ) -> None:
        self.policy = policy or Policy()
        self.audit: Audit = audit or NoAudit()
        self._counts = counts or DayCounts()
        self.owner = Owner(terminal or Terminal())
        self.pause = Pause()
        self.on_record: Callable[[Entry], object] = lambda _: None
        self._pace = pace or Pace()
        self._countersigning = countersigning or Countersigning()
        self.releases = releases or PrivateReleases(self.policy.differential_privacy)
        self.receipts = receipts or LeakReceipts(self.policy.leak)
        self._keeper = ModelKeeper(
            self.policy, self._countersigning.participation, models or KeptModels()
        )
        self._bits = 0  # counted as told already, and not told yet
        self._asking: dict[str, asyncio.Task[None]] = {}

    @property
    def most_message_bytes(self) -> int:
        """Largest message of an admitted coordinator: a model as large as the policy allows."""
        return 4 * self.policy.recipe.parameters + _FRAME_ROOM

    @property
    def allows_pointers(self) -> bool:
        return "pointers" in self.policy.modes

    @property
    def allows_sessions(self) -> bool:
        """Whether pointer operations may run at all, on rows or on shares."""
        return not {"pointers", "shared"}.isdisjoint(self.policy.modes)

    async def record(self, who: Who, entry: Entry, durable: bool = True) -> None:
        """Raises StorageError where the log cannot be written; nothing may be answered then."""
        entry.who, entry.certificate, entry.address = who.name, who.certificate, who.address
        entry.detail = escaped(entry.detail, MAX_QUOTED)
        try:
            await self.audit.record(entry, durable)
        except asyncio.CancelledError:  # it is written all the same
            self.on_record(entry)
            raise
        self.on_record(entry)

    async def keep_pace(self, who: Who) -> None:
        """Waits where a coordinator asks too often. Safe to cancel."""
        # without TLS a name costs nothing
        seconds = self._pace.wait(who.certificate or who.address.rpartition(":")[0])
        if seconds:
            await asyncio.sleep(seconds)

    def admit(self, who: Who) -> None:
        """Raises PolicyRefused for a coordinator that the owner has not let in.

        A handshake cannot wait for an owner to look up. A new coordinator is refused while the
        owner is asked, and may dial again after a yes.
        """
        self.pause.check()
        names = self.policy.coordinators
        if names and who.name not in names and not who.certificate:
            # with TLS the names are Admission's, which --coordinator may have set
            raise refusal("coordinators", "it works with others")
        known = self._counts.knows(who.name, who.certificate)
        if "first-time-coordinator" in self.policy.ask and not known:
            self._ask_about(who)

    async def may_propose(
        self, who: Who, command: ProposeCommand, shard: Shard, *, is_known: bool
    ) -> None:
        """Raises PolicyRefused where a rule says no to work that is only proposed.

        Args:
            is_known: of a run whose training is remembered: to ask for it again counts for nothing.
        """
        if command.work == HAND_OUT:
            self._keeper.check(who, command)
            return
        mode, recipe = command.work, Recipe.from_json(command.recipe)
        await self._may_work(mode, who, shard, recipe, command.rounds, command.secure)
        if is_known:
            return
        if recipe.is_private and mode == "train":
            await self.releases.may_begin(who.name, command.run, recipe, command.secure)
        counted = _COUNTED[mode]
        most = getattr(self.policy.day, counted)
        if not self._counts.has_room(counted, most, self._now()):
            raise _used_up(counted, most)

    async def may_train(self, who: Who, command: TrainCommand, shard: Shard) -> None:
        """Raises PolicyRefused where a rule says no; else the training counts for today."""
        recipe = Recipe.from_json(command.recipe)
        await self._may_work("train", who, shard, recipe, command.rounds, command.secure)
        self._count("rounds", self.policy.day.rounds)
        digest = recipe_digest(recipe.to_json()).hex()
        # where nobody is told how many there are, no countersignature tells that they are others
        rows = 0 if self.policy.hides_rows else len(shard.train)
        self._countersigning.participation.trains(
            who.name, command.run, digest, command.round, rows
        )

    def countersign(self, who: Who, command: CountersignCommand) -> Countersignature:
        """Signs what a passport says of this node; raises as Countersigning.sign does.

        Raises:
            PolicyRefused: the owner signs no passports.
        """
        if not self.policy.countersign:
            raise refusal("countersign", "its owner signs no passports of models")
        if self.policy.hides_rows and command.rows is not None:
            # a no to a wrong number would tell it, after enough of them
            needed = self.policy.secure_aggregation.required
            rule = "secure_aggregation.required" if needed else "differential_privacy.epsilon"
            raise refusal(rule, "it tells nobody how many rows it has")
        return self._countersigning.sign(who.name, command)

    def has_measured(self, who: Who, state: Vector) -> None:
        """Notes that a model (P,) was measured here."""
        digest = state_digest(state).hex()
        self._countersigning.participation.measures(who.name, digest)

    async def may_evaluate(self, who: Who, command: EvaluateCommand, shard: Shard) -> None:
        """Likewise for an evaluation."""
        recipe, is_secure = Recipe.from_json(command.recipe), command.secure is not None
        await self._may_work("evaluate", who, shard, recipe, 1, is_secure)
        self._count("evaluations", self.policy.day.evaluations)

    async def may_compare(self, who: Who, command: CompareCommand, shard: Shard) -> None:
        """Likewise for a comparison with a model that is trained on these rows alone."""
        recipe = Recipe.from_json(command.recipe)
        await self._may_work("compare", who, shard, recipe, command.rounds, command.secure)
        self._count("comparisons", self.policy.day.comparisons)

    async def keep_model(self, who: Who, command: HandOutCommand, state: Vector) -> str:
        """Keeps a model (P,) for the owner; says and raises what ModelKeeper.keep does."""
        return await self._keeper.keep(
            who, command, state, lambda: self._count("models", self.policy.day.models)
        )

    async def may_point(self, who: Who, recipe: str, shard: Shard) -> None:
        """Likewise for a session of pointer operations, which counts as a training."""
        await self._may_work("pointers", who, shard, Recipe.from_json(recipe), 1)
        self._count("rounds", self.policy.day.rounds)

    async def may_share(self, who: Who) -> None:
        """Raises PolicyRefused where a rule says no to a session that has no rows.

        What tells of rows has nothing to do with it: it counts for nothing.
        """
        self.policy.check_shared(who.name)
        self.policy.check_hours(self._now())
        if "shared" in self.policy.ask and "shared" not in who.said_yes:
            await self._ask("shared", who)

    async def may_share_messages(self, who: Who, others: Collection[str], shard: Shard) -> None:
        """The same of a session in which this owner's held-out messages are scored.

        Args:
            others: the nodes that have a part in it.
        """
        await self.may_share(who)
        self.policy.check_messages(others)
        if len(shard.scored) < self.policy.fewest_held_out_rows:
            raise refusal("fewest_held_out_rows", "it has too few rows to measure with")
        self._count("evaluations", self.policy.day.evaluations)

    async def _may_work(
        self,
        mode: Mode,
        who: Who,
        shard: Shard,
        recipe: Recipe,
        rounds: int,
        is_secure: bool = False,
    ) -> None:
        policy = self.policy
        self.pause.check()
        policy.check_mode(mode)
        policy.check_secure(is_secure)
        policy.check_private(mode, recipe.privacy)
        policy.check_hours(policy.hours.now())
        policy.check_rows(len(shard.train), len(shard.scored), mode)
        policy.check_recipe(recipe, rounds)
        if mode in ("train", "compare") and not recipe.is_private:  # which has one step, of all
            policy.check_mixing(recipe.training)
        if mode in policy.ask and mode not in who.said_yes:
            await self._ask(mode, who)
            self.pause.check()  # which may have come while the owner thought

    def take_bits(self, bits: int) -> None:
        """Counts what pointer operations are about to tell of the rows, before they run.

        Raises PolicyRefused where today's numbers, of BITS_A_NUMBER each, are used up.
        """
        if self._bits < bits:
            needed = -((self._bits - bits) // BITS_A_NUMBER)
            most = self.policy.pointers.numbers
            try:
                self._count("numbers", most, max(_BLOCK, needed))
                needed = max(_BLOCK, needed)
            except PolicyRefused:  # less than a block may be left
                self._count("numbers", most, needed)
            self._bits += needed * BITS_A_NUMBER
        self._bits -= bits

    def _count(self, what: Counted, most: int, more: int = 1) -> None:
        try:
            free = self._counts.count(what, most, self._now(), more)
        except StorageError as error:
            log.warning("%s", error)
            raise NodeFailed("the node cannot keep count of today's work", "disk trouble") from None
        if not free:
            raise _used_up(what, most)

    def today(self) -> dict[Counted, tuple[int, int]]:
        """How often each was done today, and may be at most."""
        day, now = self.policy.day, self._now()
        most: dict[Counted, int] = {
            "rounds": day.rounds,
            "evaluations": day.evaluations,
            "comparisons": day.comparisons,
            "models": day.models,
            "numbers": self.policy.pointers.numbers,
        }
        return {what: (self._counts.done(what, now), bound) for what, bound in most.items()}

    def _now(self) -> datetime:
        return self.policy.hours.now()

    def _ask_about(self, who: Who) -> None:
        """Has the owner asked about a coordinator that is new; always raises PolicyRefused."""
        question: Question = "first-time-coordinator"
        if not self.owner.is_there:
            raise _unanswered(question, "nobody sits at its terminal to say it")
        if not self._asking:  # one question at a time: strangers must not fill the terminal
            asking = asyncio.create_task(self._meet(who))
            self._asking[who.name] = asking
            asking.add_done_callback(lambda _: self._asking.clear())
        raise _unanswered(question, "the owner is asked now; dial again after the yes")

    async def _meet(self, who: Who) -> None:
        try:
            await self._ask("first-time-coordinator", who)
            self._counts.remember(who.name, who.certificate)
        except FedsmsError as error:
            log.warning("%s is not let in: %s", who.name, error)

    async def _ask(self, question: Question, who: Who) -> None:
        if not self.owner.is_there:
            raise _unanswered(question, "nobody sits at its terminal to say it")
        proof = f"certificate {who.certificate[:23]}..." if who.certificate else "not proved"
        name = who.name if who.certificate else quoted(who.name)
        what = "work with this node" if question == "first-time-coordinator" else question
        if not await self.owner.ask(f"May {name} at {who.address} ({proof}) {what}?"):
            raise _unanswered(question, "the owner did not say it")
        who.said_yes.add(question)


def _used_up(what: Counted, most: int) -> PolicyRefused:
    table = "pointers" if what == "numbers" else "day"
    return refusal(f"{table}.{what}", f"{most:,} {what} a day; more are for tomorrow")


def _unanswered(question: Question, why: str) -> PolicyRefused:
    return refusal("ask", f"{question} needs the owner's yes, and {why}")
