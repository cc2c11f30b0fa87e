"""Rounds with secure aggregation: real nodes, TLS and sockets, beside plain rounds of the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import count as counting
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.local.many_nodes import Served
from server.rounds.cohort import MinNodes
from server.rounds.records import Round, round_from_rows
from server.runs.rosters_file import RostersFile
from shared.errors import PAUSE, NodeFailed, PolicyRefused
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.secure_aggregation.violation import Rule, Violation
from shared.wire.commands import Progress
from tests.helpers.federating import Watcher, of_rounds, until
from tests.helpers.identities import Federation, make_federation
from tests.helpers.secure_rounds import QUICK, Federated, federated
from worker_node.audit.lines import Entry
from worker_node.guarding.policy import Policy
from worker_node.secure_aggregation.masked_rounds import RoundsInMemory
from worker_node.secure_aggregation.refusing import refusing
from worker_node.secure_aggregation.sums import SecureSums

pytestmark = pytest.mark.timeout(240)
OF_TWO = Policy.model_validate({"secure_aggregation": {"fewest_owners": 2}})
HALF = MinNodes.parse("0.5")
OWNERS = ["anne", "bob", "carol", "dora"]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return make_federation(tmp_path_factory.mktemp("federation"))


Scene = Callable[..., Any]
Work = Callable[[Federated], Any]


@pytest.fixture
def owners(federation: Federation, recipe: Recipe) -> Scene:
    """Runs a coroutine with a federation of these owners."""

    def run(
        names: list[str], work: Callable[[Federated], Any], rounds: int = 2, **more: Any
    ) -> Any:
        async def go() -> Any:
            async with federated(federation, names, of_rounds(recipe, rounds), **more) as found:
                found.run = f"run-{next(_RUNS)}"
                return await work(found)

        return asyncio.run(go())

    return run


_RUNS = counting()


async def both_ways(found: Federated, **plan: Any) -> tuple[Watcher, Watcher]:
    """The same run with and without; asserts that the same bytes are left."""
    secure, plain = Watcher(), Watcher()
    masked = await found.trained(secure, **plan)
    found.run = f"{found.run}-plain"
    clear = await found.trained(plain, secure=False, **plan)
    assert masked.tobytes() == clear.tobytes()
    assert not np.array_equal(masked, initial_state(found.recipe, 1))
    return secure, plain


@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_run_leaves_the_bytes_of_a_plain_one(owners: Scene, count: int) -> None:
    names = [f"o{number:02d}" for number in range(count)]
    secure, plain = owners(names, both_ways, policies=dict.fromkeys(names, OF_TWO))
    assert len(secure.rounds) == 2
    for ours, theirs in zip(secure.rounds, plain.rounds, strict=True):
        assert ours.metrics.roc_auc == theirs.metrics.roc_auc
        assert ours.metrics.rows == theirs.metrics.rows == 10 * count
        assert ours.metrics.loss == pytest.approx(theirs.metrics.loss, abs=1e-4)
        assert ours.loss == pytest.approx(theirs.loss, abs=1e-4)
        assert ours.summed_rows == sum(node.rows or 0 for node in theirs.nodes)


def test_no_figure_of_one_owner_is_in_the_record(owners: Scene) -> None:
    async def work(found: Federated) -> list[Round]:
        watcher = Watcher()
        await found.trained(watcher)
        return watcher.rounds

    records = owners(OWNERS[:3], work)
    assert len(records) == 2
    for record in records:
        *nodes, total = record.rows()
        assert [row["node"] for row in nodes] == OWNERS[:3]
        for row in nodes:
            told = {"rows", "loss", "rows_counted", "held_out_rows_counted"}
            told |= {name for name in row if name.startswith("held_out_")}
            assert {row[name] for name in told} <= {None, 0}
        assert total["secure_aggregation"] is True
        assert (total["rows"], total["held_out_rows"]) == (111, 30)
        assert round_from_rows(record.rows(), record.rounds) == record


def test_progress_tells_percent_and_no_loss(owners: Scene) -> None:
    seen: list[Progress] = []

    def look(number: int, node: str, stage: str, progress: Progress | None) -> None:
        if progress is not None:
            seen.append(progress)

    owners(OWNERS[:3], lambda found: found.trained(Watcher(on_stage=look)))
    assert seen
    assert {(one.total, one.loss) for one in seen} == {(100, None)}


def failing_in_training(one: Served) -> None:
    """From now on the node's training fails, after its shares were dealt."""

    async def call(request: dict[str, Any], *others: Any) -> dict[str, Any]:
        if request["op"] == "train":
            raise NodeFailed("this node cannot train today")
        return await before(request, *others)

    before = one.node.trainer.call
    one.node.trainer.call = call  # type: ignore[assignment]


def test_an_owner_that_is_lost_before_masking_costs_no_bit(owners: Scene) -> None:
    async def work(found: Federated) -> tuple[Watcher, Watcher]:
        failing_in_training(found.served["dora"])
        return await both_ways(found, min_nodes=HALF)

    for watcher in owners(OWNERS, work):
        assert len(watcher.rounds) == 2
        for record in watcher.rounds:
            assert [node.node for node in record.nodes] == OWNERS[:3]
            assert "cannot train today" in record.left_out["dora"]


def test_a_cohort_is_summed_as_it_is_averaged(owners: Scene) -> None:
    names = [*OWNERS, "erin"]
    secure, plain = owners(names, lambda found: both_ways(found, cohort=3), rounds=4)
    drawn = [[node.node for node in record.nodes] for record in secure.rounds]
    assert drawn == [[node.node for node in record.nodes] for record in plain.rounds]
    assert {len(chosen) for chosen in drawn} == {3}
    assert len({*map(tuple, drawn)}) > 1


@pytest.mark.parametrize("stage", ["training", "fetching", "evaluating"])
def test_a_line_that_breaks_in_any_stage_costs_no_bit_and_no_owner(
    owners: Scene, stage: str
) -> None:
    """Who is back in time is answered what was answered before."""

    async def work(found: Federated) -> tuple[Watcher, list[int]]:
        whole = await found.trained()
        found.run = f"{found.run}-cut"
        # of a machine that has much else to do: who is back after it is left out, as elsewhere
        found.timeouts = replace(QUICK, rejoin_window=20)
        cut: list[int] = []
        watcher = Watcher()
        async with found.members() as members:
            dora = next(one for one in members.all if one.id == "dora")

            def strike(number: int, node: str, at: str, progress: Progress | None) -> None:
                if (node, at) == ("dora", stage) and number not in cut and dora.link is not None:
                    cut.append(number)
                    dora.link._connection.transport.abort()

            watcher.on_stage = strike
            state = await found.lead(members, watcher).run(initial_state(found.recipe, 1))
        assert state.tobytes() == whole.tobytes()
        return watcher, cut

    watcher, cut = owners(OWNERS, work)
    assert cut == [1, 2]
    assert len(watcher.rounds) == 2
    assert all(len(record.nodes) == 4 and not record.without for record in watcher.rounds)


def test_who_is_later_than_the_deadline_is_left_out_of_the_sum(owners: Scene) -> None:
    async def work(found: Federated) -> tuple[Watcher, Watcher]:
        trainer = found.served["dora"].node.trainer
        before = trainer.call

        async def call(request: dict[str, Any], *others: Any) -> dict[str, Any]:
            if request["op"] == "train":
                await asyncio.Event().wait()  # until it is given up
            return await before(request, *others)

        trainer.call = call  # type: ignore[assignment]
        found.timeouts = replace(QUICK, round_deadline=1.5)
        return await both_ways(found, min_nodes=HALF)

    for watcher in owners(OWNERS, work, rounds=1):
        (record,) = watcher.rounds
        assert [node.node for node in record.nodes] == OWNERS[:3]
        assert "deadline" in record.left_out["dora"]


def test_a_round_that_too_few_could_end_is_lost_and_the_next_one_begins(owners: Scene) -> None:
    async def work(found: Federated) -> Watcher:
        carol = found.served["carol"].node.trainer
        before = carol.call
        failing_in_training(found.served["carol"])

        class Watching(Watcher):
            def on_notice(self, number: int, node: str, text: str) -> None:
                super().on_notice(number, node, text)
                if not node and "is lost" in text:
                    carol.call = before  # type: ignore[method-assign]

        watcher = Watching()
        await found.trained(watcher, min_nodes=HALF)
        return watcher

    watcher = owners(OWNERS[:3], work, rounds=3)
    assert [record.number for record in watcher.rounds] == [2, 3]
    lost = [(number, text) for number, node, text in watcher.notices if "is lost" in text]
    assert [number for number, _ in lost] == [1]
    assert len(watcher.rounds[0].nodes) == 3


def test_a_node_that_is_started_anew_amid_a_round_is_left_out_of_it_alone(owners: Scene) -> None:
    async def work(found: Federated) -> Watcher:
        dora = found.served["dora"].node

        def restart(number: int, node: str, stage: str, progress: Progress | None) -> None:
            if (number, node, stage) == (1, "dora", "training") and dora.sums is not None:
                dora.sums._runs.clear()  # what a process that ends takes with it

        watcher = Watcher(on_stage=restart)
        await found.trained(watcher, min_nodes=HALF)
        return watcher

    watcher = owners(OWNERS, work, rounds=3)
    assert "rule secure_aggregation.order" in watcher.rounds[0].left_out["dora"]
    assert [len(record.nodes) for record in watcher.rounds] == [3, 4, 4]


def test_a_coordinator_that_is_stopped_anywhere_goes_on_to_the_same_bytes(
    owners: Scene, tmp_path: Path
) -> None:
    async def work(found: Federated) -> None:
        whole = await found.trained()
        found.run, found.kept = f"{found.run}-stopped", RostersFile(tmp_path)
        state, completed = initial_state(found.recipe, 1), 0
        for place, stage in enumerate(("fetching", "evaluating", "training", "waiting")):
            watcher = Watcher()
            await stopped_at(found, watcher, state, completed, stage, resumed=place > 0)
            if watcher.state is not None:
                completed, state = watcher.rounds[-1].number, watcher.state
            found.kept = RostersFile(tmp_path)
        async with found.members() as members:
            coordinator = found.lead(members, Watcher(), resumed=True)
            resumed = await coordinator.run(state, completed)
        assert resumed.tobytes() == whole.tobytes()

    owners(OWNERS[:3], work, rounds=3)


async def stopped_at(
    found: Federated, watcher: Watcher, state: Vector, completed: int, stage: str, resumed: bool
) -> None:
    """Leads a run until a node is at a stage, and is gone then."""
    reached: list[str] = []
    watcher.on_stage = lambda number, node, at, progress: reached.append(at)
    async with found.members() as members:
        coordinator = found.lead(members, watcher, resumed=resumed)
        task = asyncio.create_task(coordinator.run(state, completed))
        await until(lambda: stage in reached, f"a node at {stage}")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def required(**rules: Any) -> Policy:
    return Policy.model_validate({"secure_aggregation": {"required": True, **rules}})


def test_an_owner_who_demands_sums_tells_no_rows_and_trains_in_no_other_way(owners: Scene) -> None:
    async def work(found: Federated) -> None:
        start = initial_state(found.recipe, 1)
        async with found.members() as members:
            greeting = next(one.link.greeting for one in members.all if one.id == "bob")
            assert (greeting.rows, greeting.labels, greeting.skipped) == ({}, None, {})
            assert greeting.secure_aggregation
            with pytest.raises(PolicyRefused, match=r"secure_aggregation\.required") as refused:
                await found.lead(members, Watcher(), secure=False).run(
                    initial_state(found.recipe, 1)
                )
            assert refused.value.exit_code == 10
            with pytest.raises(PolicyRefused, match=r"secure_aggregation\.required"):
                await found.lead(members, Watcher(), secure=False).evaluate(start)
        await found.trained()

    owners(OWNERS[:3], work, policies={"bob": required()})


@pytest.mark.parametrize(
    ("rule", "count", "policy"),
    [
        ("fewest_owners", 3, required(fewest_owners=4)),
        ("fewest_owners", 2, Policy()),
    ],
)
def test_terms_that_no_round_can_meet_end_the_run_by_rule(
    owners: Scene, rule: str, count: int, policy: Policy
) -> None:
    async def work(found: Federated) -> None:
        with pytest.raises(PolicyRefused, match=rf"secure_aggregation\.{rule}") as refused:
            await found.trained()
        assert refused.value.exit_code == 10

    owners(OWNERS[:count], work, policies={"bob": policy})


class Hostile(SecureSums):
    """An owner's sums that do something else at one step."""

    def __init__(self, honest: SecureSums, step: str, data: bytes | None) -> None:
        super().__init__(honest._signer, honest._terms, RoundsInMemory())
        self._where, self._data = step, data

    async def step(self, peer: str, command: Any) -> bytes:
        answer = await super().step(peer, command)
        if command.step != self._where:
            return answer
        if self._data is None:
            raise NodeFailed("says nothing of use")
        return self._data

    async def mask(self, which: Any, numbers: Any, measured: bytes | None = None) -> bytes:
        if self._where != "mask":
            return await super().mask(which, numbers, measured)
        return await super().mask(which, numbers[:-1], measured)


@pytest.mark.parametrize(
    ("step", "data"),
    [
        ("share", b"junk"),
        ("share", None),
        ("mask", None),
        ("agree", b"junk"),
        ("agree", None),
        ("open", b"\x93"),
        ("open", None),
    ],
)
def test_a_node_that_misbehaves_in_a_sum_ends_its_own_part_alone(
    owners: Scene, step: str, data: bytes | None
) -> None:
    async def work(found: Federated) -> Watcher:
        node = found.served["dora"].node
        assert node.sums is not None
        node.sums = Hostile(node.sums, step, data)
        watcher = Watcher()
        await found.trained(watcher, min_nodes=HALF)
        return watcher

    watcher = owners(OWNERS, work)
    assert [record.number for record in watcher.rounds] == [1, 2]
    for record in watcher.rounds:
        assert {node.node for node in record.nodes} >= set(OWNERS[:3])
        assert record.metrics.rows >= 30


def test_what_is_refused_of_this_round_says_nothing_against_the_next(owners: Scene) -> None:
    """A rule travels by name, so that the coordinator knows what a refusal is about."""
    rule: Rule = "one_roster"

    async def work(found: Federated) -> Watcher:
        asked = dict.fromkeys((1, 2), 0)

        class Once(SecureSums):
            async def step(self, peer: str, command: Any) -> bytes:
                if command.step == "share" and command.round == 1:
                    asked[1] += 1
                    with refusing():
                        raise Violation(rule, "this sum has another roster already")
                return await super().step(peer, command)

        for one in found.served.values():
            assert one.node.sums is not None
            honest = one.node.sums
            one.node.sums = Once(honest._signer, honest._terms, RoundsInMemory())
        watcher = Watcher()
        await found.trained(watcher)
        assert asked[1]
        return watcher

    watcher = owners(OWNERS[:3], work)
    assert [record.number for record in watcher.rounds] == [2]


def test_an_owners_pause_loses_a_round_and_not_the_run(owners: Scene) -> None:
    async def work(found: Federated) -> Watcher:
        refused: list[str] = []

        class Paused(SecureSums):
            async def step(self, peer: str, command: Any) -> bytes:
                if command.step == "share" and not refused:
                    guard.pause.begin()  # which ends with the first that is refused for it
                return await super().step(peer, command)

        def on_record(entry: Entry) -> None:
            if entry.decision == "refused":
                refused.append(entry.detail)
                guard.pause.end()

        node = found.served[OWNERS[2]].node
        assert node.sums is not None
        guard, guard.on_record = node.guard, on_record
        node.sums = Paused(node.sums._signer, node.sums._terms, RoundsInMemory())
        watcher = Watcher()
        await found.trained(watcher)
        assert len(refused) == 1
        assert f"(rule {PAUSE})" in refused[0]
        return watcher

    watcher = owners(OWNERS[:3], work)
    assert [record.number for record in watcher.rounds] == [2]


def test_a_model_is_measured_in_a_sum_without_a_run(owners: Scene) -> None:
    async def work(found: Federated) -> None:
        state = initial_state(found.recipe, 1)
        figures = []
        for secure in (True, False):
            async with found.members() as members:
                found.run += "-again"
                overall, each = await found.lead(members, Watcher(), secure).evaluate(state)
                figures.append((overall.roc_auc, overall.rows))
                assert bool(each) is not secure
        assert figures[0] == figures[1]

    owners(OWNERS[:3], work)
