"""The node's memory of trainings: nothing is trained twice, nothing is kept for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest

from shared.errors import NodeFailed
from shared.wire.commands import Progress, TrainCommand, TrainReport
from tests.helpers.federating import until
from worker_node.training import known_trainings as finished_work
from worker_node.training.known_trainings import MAX_FINISHED, MAX_ORPHANS, Key, Trainings, key_of

REPORT = TrainReport(rows=1, batches=1, loss=0.5, seconds_training=0.1, seconds_waiting=0)
STATE = np.arange(4, dtype=np.float32)


class Work:
    """Trainings that end when the test says so, and count themselves."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = asyncio.Event()
        self.tell: Callable[[Progress], None] = lambda _: None

    async def __call__(self, tell: Callable[[Progress], None]) -> tuple[TrainReport, np.ndarray]:
        self.begun += 1
        self.tell = tell
        await self.ended.wait()
        return REPORT, STATE


def key(run: str = "run", inputs: bytes = b"1", peer: str = "coordinator") -> Key:
    return Key(peer, run, inputs)


def ask(trainings: Trainings, work: Work, wanted: Key) -> asyncio.Task[object]:
    return asyncio.create_task(trainings.result_of(wanted, work, lambda _: None))


async def lose(task: asyncio.Task[object]) -> None:
    """The connection of whoever asked breaks."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_who_asks_again_gets_the_training_that_goes_on_and_its_progress() -> None:
    async def session() -> None:
        trainings, work = Trainings(keep_seconds=60), Work()
        first = ask(trainings, work, key())
        await until(lambda: work.begun == 1, "the training to begin")
        await lose(first)
        told: list[Progress] = []
        again = asyncio.create_task(trainings.result_of(key(), work, told.append))
        await asyncio.sleep(0)  # it asks
        work.tell(Progress(done=1, total=2, loss=0.1))
        work.ended.set()
        report, state = await again
        assert (report, state.tolist(), len(told)) == (REPORT, STATE.tolist(), 1)
        assert (await ask(trainings, work, key()))[0] == REPORT  # type: ignore[index]
        assert work.begun == 1

    asyncio.run(session())


@pytest.mark.parametrize("keep", [0, 0.05])
def test_a_training_that_nobody_waits_for_is_given_up(keep: float) -> None:
    async def session() -> None:
        trainings, work = Trainings(keep), Work()
        task = ask(trainings, work, key())
        await until(lambda: work.begun == 1, "the training to begin")
        await lose(task)
        await until(lambda: not len(trainings), "the training to be given up")

    asyncio.run(session())


def test_nobody_else_gets_a_result_by_asking_for_the_same() -> None:
    async def session() -> None:
        trainings, work = Trainings(60), Work()
        work.ended.set()
        for wanted in (key(), key(run="other"), key(peer="mallory"), key(inputs=b"2")):
            await ask(trainings, work, wanted)
        assert work.begun == 4

    asyncio.run(session())


def test_the_key_holds_all_that_decides_a_result() -> None:
    command = TrainCommand(state_id=1, result_id=2, run="r", recipe="{}", seed=1, round=1, rounds=2)
    known = key_of("me", command, STATE)
    assert key_of("me", command.model_copy(update={"state_id": 7, "result_id": 8}), STATE) == known
    for changed in (
        {"run": "s"},
        {"recipe": "[]"},
        {"seed": 2},
        {"round": 2},
        {"rounds": 3},
        {"secure": True},
    ):
        assert key_of("me", command.model_copy(update=changed), STATE) != known
    assert key_of("me", command, STATE + 1) != known
    assert key_of("you", command, STATE) != known


def test_a_failure_is_not_remembered() -> None:
    async def session() -> None:
        trainings = Trainings(60)

        async def fails(_: object) -> tuple[TrainReport, np.ndarray]:
            raise NodeFailed("no memory")

        for _ in range(2):
            with pytest.raises(NodeFailed):
                await trainings.result_of(key(), fails, lambda _: None)
        assert len(trainings) == 0

    asyncio.run(session())


def test_a_training_that_was_cancelled_begins_anew_when_asked_for_again() -> None:
    async def session() -> None:
        trainings, work = Trainings(60), Work()
        task = ask(trainings, work, key())
        await until(lambda: work.begun == 1, "the training to begin")
        trainings.give_up(key())
        work.ended.set()
        assert (await ask(trainings, work, key()))[0] == REPORT  # type: ignore[index]
        with pytest.raises(asyncio.CancelledError):
            await task
        assert work.begun == 2

    asyncio.run(session())


def test_a_result_is_remembered_for_its_time_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finished_work, "FINISHED_SECONDS", 0.2)

    async def session() -> None:
        trainings, work = Trainings(60), Work()
        work.ended.set()
        for _ in range(2):
            await ask(trainings, work, key())
        assert work.begun == 1
        await until(lambda: len(trainings) == 0, "it to be forgotten")
        await ask(trainings, work, key())
        assert work.begun == 2

    asyncio.run(session())


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def session() -> None:
        trainings, work = Trainings(60), Work()
        work.ended.set()
        for number in range(20):
            await ask(trainings, work, key(run=f"run {number}"))
        assert len(trainings) == MAX_FINISHED
        for number in range(20):
            await ask(trainings, work, key(inputs=bytes([number])))
        assert len(trainings) == MAX_FINISHED  # of one run, the newest alone
        monkeypatch.setattr(finished_work, "MAX_FINISHED_BYTES", 2 * STATE.nbytes)
        await ask(trainings, work, key(run="last"))
        assert len(trainings) == 2
        never = Work()
        for number in range(10):
            task = ask(trainings, never, key(run=f"orphan {number}"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await lose(task)
        assert len(trainings) == 2 + MAX_ORPHANS

    asyncio.run(session())
