"""What a node remembers over a restart: the counts of the day, and whom it knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import StorageError
from shared.model.recipe import Recipe
from shared.wire.commands import EVALUATE
from shared.wire.handshake import Greeting
from tests.helpers.node_requests import command, error, reply, run, send_state
from tests.helpers.peers import stranger
from tests.helpers.running import Finished
from tests.helpers.served_nodes import served_node
from worker_node.guarding.day_counts import DayCounts
from worker_node.guarding.set_up import OFF, find_guarding


def test_the_days_counts_are_kept_beside_the_log(tmp_path: Path) -> None:
    """Wherever the owner put that, since an identity folder may be mounted read-only."""
    log = tmp_path / "log" / "bob.jsonl"
    guarding = find_guarding(None, log, None, "bob")
    assert guarding.counts == tmp_path / "log" / "bob.counts.json"
    guarding = find_guarding(None, None, None, "bob")
    assert guarding.counts == Path("bob.audit.counts.json")
    assert find_guarding(None, OFF, None, "bob").counts is None


@contextmanager
def counts_in(path: Path) -> Iterator[DayCounts]:
    """A node's counts, and its end."""
    counts = DayCounts(path)
    try:
        yield counts
    finally:
        counts.close()


TODAY, TOMORROW = datetime(2026, 11, 22), datetime(2026, 11, 23)  # noqa: DTZ001


def test_counts_begin_anew_each_day_and_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    with counts_in(path) as counts:
        assert [counts.count("rounds", 2, TODAY) for _ in range(3)] == [True, True, False]
        counts.remember("hospital", "ab:cd")
    with counts_in(path) as counts:
        assert counts.count("rounds", 2, TODAY) is False
        assert counts.count("rounds", 2, TOMORROW) is True
        assert counts.knows("hospital", "ab:cd")
        assert not counts.knows("hospital", "")
    path.write_text('{"rounds": -1}', encoding="utf-8")
    with pytest.raises(StorageError, match="damaged"):
        DayCounts(path)


def test_counts_kept_under_their_older_name_go_on(tmp_path: Path) -> None:
    log = tmp_path / "bob.jsonl"
    older = tmp_path / "bob.standing.json"
    with counts_in(older) as counts:
        assert counts.count("rounds", 1, TODAY)
    for named in (None, tmp_path / "bob.counts.json"):
        found = find_guarding(None, log, None, "bob", counts=named).counts
        assert found == older
        with counts_in(found) as counts:
            assert not counts.count("rounds", 1, TODAY)
    (tmp_path / "bob.counts.json").write_text("{}", encoding="utf-8")
    assert find_guarding(None, log, None, "bob").counts == tmp_path / "bob.counts.json"


@pytest.mark.parametrize(
    "given", [("--counts",), ("--standing",), "FEDSMS_COUNTS", "FEDSMS_STANDING"]
)
def test_the_file_of_counts_goes_by_its_older_names_too(
    given: tuple[str] | str,
    tmp_path: Path,
    cli: Callable[..., Finished],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "rows.tsv").write_text("ham\thello\nspam\twin\n", encoding="utf-8")
    (tmp_path / "mine.json").write_text("no counts", encoding="utf-8")
    flags = (*given, "mine.json") if isinstance(given, tuple) else ()
    if isinstance(given, str):
        monkeypatch.setenv(given, "mine.json")
    serve = ("serve", "--id", "bob", "--data", "rows.tsv", "--port", "0", *flags)
    done = cli("worker_node", *serve)
    assert done.code == 7
    assert "mine.json is damaged" in done.err


def test_a_clock_that_runs_back_and_on_again_brings_no_count_back(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    with counts_in(path) as counts:
        assert counts.count("rounds", 2, TOMORROW)
    for now in (TODAY, TOMORROW, TODAY):
        with counts_in(path) as counts:
            assert not counts.count("rounds", 1, now)
    with counts_in(path) as counts:
        assert counts.count("rounds", 2, TODAY)  # the second of two, whatever the clock says
        assert not counts.count("rounds", 2, TODAY)
        assert not counts.count("rounds", 2, TOMORROW)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40))
def test_no_order_of_days_and_restarts_allows_more_than_a_day_has(
    steps: list[tuple[int, bool]],
) -> None:
    """As many as the days that came, each counted once, in whatever order the clock showed them."""
    most = 2
    with TemporaryDirectory() as folder:
        path = Path(folder, "counts.json")
        counts, allowed, latest, days = DayCounts(path), 0, -1, 0
        for day, restarts in steps:
            if restarts:
                counts.close()
                counts = DayCounts(path)
            days, latest = (days + 1, day) if day > latest else (days, latest)
            allowed += counts.count("rounds", most, TODAY + timedelta(days=day))
            assert allowed <= most * days
        counts.close()


def test_two_nodes_do_not_count_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    with counts_in(path), pytest.raises(StorageError, match="another node keeps its counts"):
        DayCounts(path)
    with counts_in(path) as counts:  # once the other one is gone
        assert counts.count("rounds", 1, TODAY)


def test_a_count_that_cannot_be_kept_is_an_error_and_counts_for_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "counts"
    folder.mkdir()
    with counts_in(folder / "counts.json") as counts:
        for left in folder.iterdir():
            left.unlink()
        folder.rmdir()
        with pytest.raises(StorageError):
            counts.count("rounds", 1, TODAY)


def test_a_day_is_one_for_all_coordinators_whatever_they_call_themselves(recipe: Recipe) -> None:
    wanted = {"base_id": None, "recipe": recipe.to_json()}

    async def evaluates(url: str, name: str) -> Any:
        async with stranger(url) as peer:
            await peer.greet(Greeting(role="coordinator", id=name))
            state_id = await send_state(peer, recipe)
            return await peer.ask(command(EVALUATE, state_id=state_id, **wanted))

    async def scene() -> None:
        async with served_node({"day": {"evaluations": 2}}) as url:
            for name in ("one", "two"):
                reply(await evaluates(url, name))
            assert "(rule day.evaluations)" in error(await evaluates(url, "three")).fact

    run(scene())


def test_the_folder_of_the_counts_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "counts.json"
    counts = DayCounts(path)
    assert counts.count("rounds", 1, TODAY)
    counts.close()
    again = DayCounts(path)
    assert not again.has_room("rounds", 1, TODAY)
    again.close()
