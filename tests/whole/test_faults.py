"""Nodes and lines that fail while a run goes on: real processes, real sockets, a faulty line.

What a fault costs is bounded by a setting (shared/wire/timeouts.py); nothing here measures how fast
this machine is.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from scripts.local.faulty_line import Line, line_to
from scripts.local.nodes import LocalNode, start_node, wait_until_ready
from server.rounds.cohort import MinNodes
from shared.errors import QuorumLost
from shared.model.recipe import Recipe
from shared.wire.commands import Progress
from shared.wire.timeouts import Timeouts
from tests.conftest import OwnerFiles
from tests.helpers.federating import Watcher, members_of, of_rounds, trained, training, until
from tests.helpers.running import until as wait_until

pytestmark = pytest.mark.timeout(240)
QUICK = Timeouts(heartbeat=1, rejoin_window=0.3)


@pytest.fixture(scope="module")
def flags(owners: list[OwnerFiles]) -> tuple[str, ...]:
    # often enough for the slow lines, on which each side hears the other's pings alone
    return (*owners[0].flags, "--heartbeat", "3")


@pytest.fixture(scope="module")
def carol(flags: tuple[str, ...]) -> Iterator[LocalNode]:
    """A node of these tests' own, which they stop and kill; `revive` starts it again."""
    node = start_node("carol", flags)
    wait_until_ready(node)
    yield node
    node.stop()


def revive(node: LocalNode, flags: tuple[str, ...]) -> None:
    """Starts a killed node again: same id, same rows, another port."""
    node.stop()
    fresh = start_node(node.id, flags)
    wait_until_ready(fresh)
    node.process, node.url, node.log = fresh.process, fresh.url, fresh.log


@pytest.fixture
def line(carol: LocalNode) -> Iterator[Line]:
    """The line to carol, faultless at first."""
    with line_to(carol.url) as line:
        yield line


def at_stage(wanted: str, strike: Callable[[], None]) -> Callable[..., None]:
    """Strikes once, when carol is next at this stage."""
    struck: list[int] = []

    def on_stage(number: int, node: str, stage: str, progress: Progress | None) -> None:
        if node == "carol" and stage == wanted and not struck:
            struck.append(number)
            strike()

    return on_stage


def run(work: Any) -> Any:
    return asyncio.run(work)


@pytest.mark.parametrize("stage", ["training", "fetching", "evaluating", "sending"])
def test_a_node_killed_at_any_stage_is_left_out_and_back_once_it_answers(
    bob: LocalNode,
    carol: LocalNode,
    line: Line,
    flags: tuple[str, ...],
    recipe: Recipe,
    stage: str,
) -> None:
    async def session() -> None:
        urls = {"bob": bob.url, "carol": line.url}
        async with training(urls, recipe, QUICK) as watcher:
            await until(lambda: watcher.took_part("carol"), "carol's first round")
            watcher.on_stage = at_stage(stage, carol.process.kill)
            cut_after: set[int] = set()

            def killed() -> bool:
                # the whole state is sent after a return alone, and not where that is to evaluate;
                # cut only once she is back, for rounds of bob alone are shorter than a return
                number = len(watcher.rounds)
                if stage == "sending" and watcher.took_part("carol") and number not in cut_after:
                    cut_after.add(number)
                    line.cut()
                return carol.process.poll() is not None

            await until(killed, "the kill")
            await until(lambda: not watcher.took_part("carol"), "a round without carol")
            assert watcher.took_part("bob")
            await asyncio.to_thread(revive, carol, flags)
            line.target(carol.url)
            await until(lambda: watcher.took_part("carol"), "carol to be back")
            assert all("node carol" in reason for reason in watcher.reasons("carol"))
            numbers = [record.number for record in watcher.rounds]
            assert numbers == list(range(1, len(numbers) + 1))

    run(session())


def trainings(node: LocalNode) -> list[str]:
    return [text for text in node.log if "of 2 for" in text and "loss" in text]


@pytest.mark.parametrize("stage", ["training", "fetching", "evaluating"])
def test_a_connection_that_breaks_trains_nothing_twice_and_changes_no_bit(
    bob: LocalNode, carol: LocalNode, line: Line, recipe: Recipe, stage: str
) -> None:
    carol.log.clear()
    undisturbed = run(trained({"bob": bob.url, "carol": carol.url}, recipe, Watcher()))
    wait_until(lambda: len(trainings(carol)) == 2, "the log of two rounds")
    carol.log.clear()
    watcher = Watcher()
    watcher.on_stage = at_stage(stage, line.cut)
    patient = Timeouts(rejoin_window=30)
    disturbed = run(trained({"bob": bob.url, "carol": line.url}, recipe, watcher, patient))
    assert np.array_equal(disturbed, undisturbed)
    assert line.dialled == 2
    assert [record.left_out for record in watcher.rounds] == [{}, {}]
    wait_until(lambda: len(trainings(carol)) >= 2, "the log of two rounds")
    assert len(trainings(carol)) == 2, carol.log


@pytest.mark.parametrize(
    ("stage", "direction", "after"),
    # of a state of 17,564 bytes there, and about as many in the answer
    [("sending", "cut_after", 9_000), ("fetching", "cut_back_after", 5_000)],
)
def test_a_frame_that_is_cut_in_the_middle_is_sent_again(
    bob: LocalNode,
    carol: LocalNode,
    line: Line,
    recipe: Recipe,
    stage: str,
    direction: str,
    after: int,
) -> None:
    watcher = Watcher()
    undisturbed = run(trained({"bob": bob.url, "carol": carol.url}, recipe, Watcher()))

    watcher.on_stage = at_stage(stage, lambda: setattr(line, direction, after))
    patient = Timeouts(rejoin_window=30)
    disturbed = run(trained({"bob": bob.url, "carol": line.url}, recipe, watcher, patient))
    assert line.cuts == 1
    assert np.array_equal(disturbed, undisturbed)


def stopped(node: LocalNode) -> Callable[[], None]:
    return lambda: os.kill(node.process.pid, signal.SIGSTOP)


def test_a_node_that_hangs_is_noticed_by_its_silence_and_back_when_it_goes_on(
    bob: LocalNode, carol: LocalNode, line: Line, recipe: Recipe
) -> None:
    async def session() -> None:
        async with training({"bob": bob.url, "carol": line.url}, recipe, QUICK) as watcher:
            await until(lambda: watcher.took_part("carol"), "the first round")
            watcher.on_stage = at_stage("training", stopped(carol))
            await until(lambda: bool(watcher.reasons("carol")), "the silence to be noticed")
            assert any("it said nothing for 1 s" in why for why in watcher.reasons("carol"))
            os.kill(carol.process.pid, signal.SIGCONT)
            await until(lambda: watcher.took_part("carol"), "carol to be back")

    try:
        run(session())
    finally:
        os.kill(carol.process.pid, signal.SIGCONT)


def test_a_partition_that_heals_costs_rounds_and_nothing_else(
    bob: LocalNode, line: Line, recipe: Recipe
) -> None:
    async def session() -> None:
        async with training({"bob": bob.url, "carol": line.url}, recipe, QUICK) as watcher:
            await until(lambda: watcher.took_part("carol"), "the first round")
            line.silent = True
            await until(lambda: bool(watcher.reasons("carol")), "the partition to be noticed")
            assert not watcher.took_part("carol")
            line.silent = False
            await until(lambda: watcher.took_part("carol"), "carol to be back")

    run(session())


@pytest.mark.parametrize(
    ("bytes_a_second", "delay", "loss", "heartbeat"),
    # a model takes longer than the heartbeat; 1 Mbit/s, 300 ms there and back, 2 % lost
    [(6_000, 0.05, 0.0, 2.0), (125_000, 0.15, 0.02, 5.0)],
)
def test_a_bad_line_is_no_dead_line(
    bob: LocalNode,
    line: Line,
    recipe: Recipe,
    bytes_a_second: int,
    delay: float,
    loss: float,
    heartbeat: float,
) -> None:
    line.bytes_a_second, line.delay, line.loss = bytes_a_second, delay, loss
    watcher = Watcher()
    patient = Timeouts(heartbeat=heartbeat)
    run(trained({"bob": bob.url, "carol": line.url}, recipe, watcher, patient))
    assert [record.left_out for record in watcher.rounds] == [{}, {}]
    assert line.dialled == 1


def test_no_clock_that_somebody_sets_changes_a_run(
    bob: LocalNode, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = itertools.cycle([0.0, 4e9, 1.0, 2e9])
    monkeypatch.setattr("time.time", lambda: next(jumps))
    watcher = Watcher()
    run(trained({"bob": bob.url}, recipe, watcher, Timeouts(heartbeat=2, round_deadline=60)))
    assert [record.left_out for record in watcher.rounds] == [{}, {}]
    assert all(0 < record.seconds < 60 for record in watcher.rounds)


def test_a_late_node_is_left_out_at_the_deadline_with_its_reason(
    bob: LocalNode, line: Line, recipe: Recipe
) -> None:
    async def session() -> None:
        late = Timeouts(round_deadline=1, heartbeat=0)
        async with training({"bob": bob.url, "carol": line.url}, recipe, late) as watcher:
            await until(lambda: watcher.took_part("carol"), "the first round")
            # the deadline is that of the training; a silence amid the evaluation is another's
            watcher.on_stage = at_stage("training", lambda: setattr(line, "silent", True))
            await until(lambda: bool(watcher.reasons("carol")), "the deadline")
            line.silent = False
            (why,) = (reason for reason in watcher.reasons("carol") if "late" in reason)
            assert "training took longer than the 1 s of the deadline" in why
            await until(lambda: watcher.took_part("carol"), "carol to be back")

    run(session())


def test_a_run_begins_with_the_quorum_and_the_others_come_later(
    bob: LocalNode, line: Line, recipe: Recipe
) -> None:
    async def session() -> None:
        line.refusing = True
        urls = {"bob": bob.url, "carol": line.url}
        async with members_of(urls, QUICK, need=1) as members:
            assert [member.id for member in members.present] == ["bob"]
            line.refusing = False
            await until(lambda: len(members.present) == 2, "carol to be there")

    run(session())


def test_too_few_nodes_are_waited_for_and_then_end_the_run(
    bob: LocalNode, line: Line, recipe: Recipe
) -> None:
    async def session() -> None:
        line.refusing = True
        async with members_of({"bob": bob.url, "carol": line.url}, impatient, need=2):
            pytest.fail("the run began without its quorum")

    impatient = Timeouts(quorum_wait=1)
    with pytest.raises(QuorumLost, match=r"1 of the 2 nodes") as caught:
        run(session())
    assert "carol" in caught.value.cause


def test_a_round_with_too_few_nodes_goes_on_when_they_return(
    bob: LocalNode, line: Line, recipe: Recipe
) -> None:
    def strike() -> None:
        line.refusing = True
        line.cut()

    async def session() -> None:
        both = MinNodes(count=2)
        async with training({"bob": bob.url, "carol": line.url}, recipe, QUICK, both) as watcher:
            await until(lambda: bool(watcher.rounds), "the first round")
            watcher.on_stage = at_stage("training", strike)
            await until(lambda: any("waiting" in one[2] for one in watcher.notices), "the wait")
            done = len(watcher.rounds)
            line.refusing = False
            await until(lambda: len(watcher.rounds) > done, "the round to be completed")
            assert all(not record.left_out for record in watcher.rounds)

    run(session())


def test_a_cohort_asks_so_many_nodes_and_another_seed_others(
    bob: LocalNode, carol: LocalNode, recipe: Recipe
) -> None:
    urls = {"bob": bob.url, "carol": carol.url}
    first, again = Watcher(), Watcher()
    states = [
        run(trained(urls, of_rounds(recipe, 6), watcher, cohort=1)) for watcher in (first, again)
    ]
    asked = [[node.node for node in record.nodes] for record in first.rounds]
    assert {len(nodes) for nodes in asked} == {1}
    assert {nodes[0] for nodes in asked} == {"bob", "carol"}
    assert asked == [[node.node for node in record.nodes] for record in again.rounds]
    assert np.array_equal(*states)
