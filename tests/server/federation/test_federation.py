"""Federation over real sockets: its rounds, in threads and loops, stopped and resumed."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.local.nodes import LocalNode
from server import AsyncFederation, EarlyStopping, Federation, Run
from server.federation.events import Progress
from shared.errors import NodeUnreachable, StorageError, UsageError
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.trained_model.saved_model import load
from tests.helpers.running import Finished

pytestmark = pytest.mark.timeout(120)
ROUNDS = 3


@pytest.fixture
def federation(nodes: list[LocalNode], tmp_path: Path) -> Federation:
    urls = {node.id: node.url for node in nodes}
    return Federation(urls, run_dir=tmp_path / "runs", rounds=ROUNDS)


def weights(run: Run) -> bytes:
    return (run.path / "model.safetensors").read_bytes()


def test_each_step_of_the_iterator_is_a_real_round(
    federation: Federation, quick: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    seen = list(federation.rounds(quick))
    run = federation.last_run
    assert run is not None
    assert [one.number for one in seen] == [1, 2, ROUNDS]
    assert run.status == "completed"
    assert [one.metrics for one in run.rounds] == [one.metrics for one in seen]
    assert set(seen[0].by_owner) == {"anne", "bob"}
    assert sum(one.rows for one in seen[0].by_owner.values()) == seen[0].metrics.rows
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert run.records() == rows
    assert "AUC" in repr(seen[0].by_owner)
    assert capfd.readouterr() == ("", "")
    assert handlers == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_breaking_off_leaves_a_complete_run_that_resumes_to_the_same_bits(
    federation: Federation, quick: Path
) -> None:
    whole = federation.train(quick, seed=5)
    for one in federation.rounds(quick, seed=5):
        assert one.number == 1
        break
    broken = federation.last_run
    assert broken is not None
    assert (broken.status, len(broken.rounds)) == ("stopped", 1)
    assert weights(broken) != weights(whole)
    resumed = federation.resume(broken)
    assert resumed == broken
    assert resumed.status == "completed"
    assert weights(resumed) == weights(whole)


def test_the_model_of_a_round_is_there_while_the_loop_looks_at_it(
    federation: Federation, quick: Path
) -> None:
    states = []
    for _ in federation.rounds(quick):
        run = federation.last_run
        assert run is not None
        assert run.status == "running"
        states.append(run.model.state)
        with pytest.raises(StorageError, match="goes on"):
            federation.resume(run)
    assert len(states) == ROUNDS
    assert not np.array_equal(states[0], states[1])


def test_it_works_where_an_event_loop_is_running(federation: Federation, quick: Path) -> None:
    async def cell() -> Run:
        return federation.train(quick, rounds=1)

    assert asyncio.run(cell()).status == "completed"


def test_coroutines_give_the_same_bits(federation: Federation, quick: Path) -> None:
    twin = AsyncFederation(federation.nodes, **federation.configuration.settings)

    async def all_of_it() -> tuple[list[int], Run, Run]:
        assert [one.error for one in await twin.status()] == [None, None]
        numbers = []
        async for one in twin.rounds(quick):
            numbers.append(one.number)
            break
        assert twin.last_run is not None
        resumed = await twin.resume(twin.last_run)
        whole = await twin.train(quick)
        evaluated = await twin.evaluate(whole)
        assert evaluated.metrics == whole.metrics
        return numbers, resumed, whole

    numbers, resumed, whole = asyncio.run(all_of_it())
    assert numbers == [1]
    assert weights(resumed) == weights(whole) == weights(federation.train(quick))


def test_a_cancelled_training_leaves_its_rounds(federation: Federation, slow: Path) -> None:
    twin = AsyncFederation(federation.nodes, **federation.configuration.settings)

    async def cancelled() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(twin.train(slow, progress=lambda _: begun.set()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert "stopped after 0 of 3 rounds" in str(caught.value.__cause__)

    asyncio.run(cancelled())
    assert twin.last_run is not None
    assert twin.last_run.status == "interrupted"


def test_two_at_once_in_one_process_do_not_mix(federation: Federation, quick: Path) -> None:
    alone = {seed: weights(federation.train(quick, seed=seed)) for seed in (1, 2)}
    both = threading.Barrier(2)

    def one(seed: int) -> Run:
        both.wait()
        return federation.train(quick, seed=seed, name=f"seed-{seed}")

    with ThreadPoolExecutor(2) as threads:
        runs = dict(zip((1, 2), threads.map(one, (1, 2)), strict=True))
    for seed, run in runs.items():
        assert weights(run) == alone[seed]
        assert run.settings["seed"] == seed
        lines = (run.path / "log.txt").read_text().splitlines()
        assert sum(" INFO round " in line for line in lines) == ROUNDS


def test_callbacks_come_in_the_callers_thread_and_what_they_raise_ends_the_run(
    federation: Federation, quick: Path
) -> None:
    threads: set[threading.Thread] = set()
    stages: set[str] = set()

    def watch(progress: Progress) -> None:
        threads.add(threading.current_thread())
        stages.add(progress.stage)

    federation.train(
        quick, progress=watch, on_round=lambda _: threads.add(threading.current_thread())
    )
    assert threads == {threading.current_thread()}
    assert {"training", "evaluating"} <= stages

    def breaks(_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        federation.train(quick, on_round=breaks)
    assert federation.last_run is not None
    assert (federation.last_run.status, len(federation.last_run.rounds)) == ("stopped", 1)


def test_a_training_ends_when_it_is_told_that_it_is_enough(
    federation: Federation, quick: Path
) -> None:
    stopped = federation.train(quick, stop=lambda one: one.number == 2)
    assert (stopped.status, len(stopped.rounds)) == ("stopped", 2)
    late = federation.train(quick, time_limit=1e-9)
    assert len(late.rounds) == 1
    patient = federation.train(quick, stop=EarlyStopping("f1", patience=1, min_delta=1.0))
    assert len(patient.rounds) == 2


class Unweighted:
    """A rule of one's own: rows do not weigh."""

    def __init__(self, base: Vector) -> None:
        self.states: dict[str, Vector] = {}

    def add(self, node: str, state: Vector, rows: int) -> None:
        self.states[node] = state

    def finish(self) -> Vector:
        states = [self.states[node].astype(np.float64) for node in sorted(self.states)]
        mean: Vector = np.mean(states, axis=0).astype(np.float32)
        return mean


def test_a_rule_of_ones_own_makes_the_model_and_a_resume_wants_it_again(
    federation: Federation, quick: Path
) -> None:
    plain = federation.train(quick)
    own = federation.train(quick, aggregation=Unweighted)
    assert weights(own) != weights(plain)
    rounds = federation.rounds(quick, aggregation=Unweighted)
    next(rounds)
    rounds.close()
    broken = federation.last_run
    assert broken is not None
    assert broken.settings["own_rule"] == f"{__name__}.Unweighted"
    with pytest.raises(UsageError, match=r"test_federation\.Unweighted"):
        federation.resume(broken)
    assert weights(federation.resume(broken, aggregation=Unweighted)) == weights(own)


def test_a_recipe_may_be_a_name_a_file_an_object_or_tables(
    federation: Federation, quick: Path, recipe: Recipe
) -> None:
    given: list[Any] = [quick, str(quick), recipe, recipe.model_dump()]
    runs = [federation.train(one, rounds=1) for one in given]
    assert len({weights(run) for run in runs}) == 1
    assert [run.path.name.rpartition("-")[2] for run in runs[::2]] == ["quick", "own"]


def test_status_and_evaluate_say_what_the_commands_say(
    federation: Federation, quick: Path, cli: Callable[..., Finished], node_flags: list[str]
) -> None:
    run = federation.train(quick, rounds=1)
    told = json.loads(cli("server", "evaluate", "--model", run.path, "--json", *node_flags).out)
    assert federation.evaluate(run).as_dict() == told
    assert federation.evaluate().as_dict() == told
    # a long path is wrapped into the middle of a table's title
    assert "held-out rows" in " ".join(repr(federation.evaluate(run.model)).split())
    statuses = federation.status()
    assert [one.address.id for one in statuses] == ["anne", "bob"]
    assert statuses.records()[0]["rows"] == {"train": 60, "held_out": 40}
    for html in (statuses._repr_html_(), run._repr_html_(), run.rounds[0]._repr_html_()):
        assert html.startswith("<table>")


def test_a_model_classifies_messages(federation: Federation, quick: Path) -> None:
    model = federation.train(quick).model
    spam, ham = model.predict(["WIN free prize claim urgent cash", "home late dinner sorry mum"])
    assert spam.spam > ham.spam
    (alone,) = model.predict("WIN free prize claim urgent cash")
    assert alone.spam == pytest.approx(spam.spam, abs=1e-6)
    assert replace(alone, spam=spam.spam) == spam
    assert [one.label for one in model.predict([spam.text, ham.text], threshold=1)] == ["ham"] * 2
    endless = itertools.repeat(ham.text)
    assert next(model.verdicts(endless, threshold=0)).label == "spam"
    saved = load(model.path)
    assert np.array_equal(saved.state, model.state)


def test_a_node_that_is_not_there_is_one_clear_error_and_no_run_folder(
    tmp_path: Path, quick: Path
) -> None:
    federation = Federation({"bob": "ws://127.0.0.1:9"}, run_dir=tmp_path / "runs")
    with pytest.raises(NodeUnreachable, match="cannot reach node bob"):
        federation.train(quick)
    assert federation.last_run is None
    assert not (tmp_path / "runs").exists()
    assert list(federation.status().errors) == ["bob"]
