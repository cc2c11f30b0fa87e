"""The day's counts at their bounds: what is damaged, what is remembered, who may read them."""

from __future__ import annotations

import json
import logging
import os
from datetime import timedelta
from pathlib import Path

import pytest

from shared.errors import StorageError
from tests.worker_node.guarding.test_day_counts import TODAY, counts_in
from worker_node.guarding.day_counts import DayCounts


@pytest.mark.parametrize(
    "text",
    [
        '{"more": 1}',
        '{"rounds": "1"}',
        '{"rounds": 1.0}',
        '{"day": "2026-11-31"}',
        '{"day": "20261122"}',
        '{"day": "2026-W47-1"}',
        '{"day": "soon"}',
        "[]",
        "",
    ],
)
def test_a_file_that_is_not_as_this_node_wrote_it_is_damaged(text: str, tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StorageError, match="damaged"):
        DayCounts(path)


@pytest.mark.parametrize("what", ["rounds", "evaluations", "comparisons", "numbers"])
def test_there_is_room_up_to_the_most_and_asking_for_it_counts_nothing(what: str) -> None:
    counts = DayCounts()
    for reached in range(3):
        for _ in range(2):
            assert counts.has_room(what, 3, TODAY) is True  # type: ignore[arg-type]
            assert counts.has_room(what, reached, TODAY) is False  # type: ignore[arg-type]
        assert counts.count(what, 3, TODAY)  # type: ignore[arg-type]
    assert counts.has_room(what, 3, TODAY) is False  # type: ignore[arg-type]
    counts.close()  # without a file there is nothing to let go


def test_the_thousand_coordinators_that_were_last_met_are_known(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    names = [f"c{number}" for number in range(1001)]
    known = dict.fromkeys(names[:1000], "aa")
    path.write_text(json.dumps({"known": known}), encoding="utf-8")
    with counts_in(path) as counts:
        assert all(counts.knows(name, "aa") for name in names[:1000])
        counts.remember(names[1000], "aa")
        assert [name for name in names if not counts.knows(name, "aa")] == names[:1]


@pytest.mark.parametrize(("ahead", "is_told"), [(0, False), (1, False), (2, True), (30, True)])
def test_counts_of_a_day_that_is_more_than_a_day_ahead_are_told(
    ahead: int, is_told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "counts.json"
    with counts_in(path) as counts, caplog.at_level(logging.WARNING):
        counts.warn_of_days_to_come(TODAY)
        assert caplog.messages == []
        assert counts.count("rounds", 1, TODAY + timedelta(days=ahead))
        counts.warn_of_days_to_come(TODAY)
    assert bool(caplog.messages) is is_told
    assert all("has not come" in one for one in caplog.messages)


def test_only_the_owner_reads_them_and_no_count_waits_for_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, synced.append)
    before = os.umask(0)
    try:
        with counts_in(tmp_path / "counts.json") as counts:
            assert counts.count("rounds", 1, TODAY)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"counts.json": 0o600, ".counts.json.lock": 0o600}
    assert synced == []


def test_a_lock_that_leads_elsewhere_is_an_error(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "counts.json", tmp_path / "elsewhere"
    elsewhere.touch()
    (tmp_path / ".counts.json.lock").symlink_to(elsewhere)
    with pytest.raises(StorageError, match=r"cannot write .*\.counts\.json\.lock"):
        DayCounts(path)


def test_who_finds_another_there_and_who_lets_go_twice_keeps_and_closes_nothing_else(
    tmp_path: Path,
) -> None:
    path = tmp_path / "counts.json"
    with counts_in(path) as counts:
        held = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(3):
            with pytest.raises(StorageError, match="another node"):
                DayCounts(path)
        assert len(list(Path("/proc/self/fd").iterdir())) == held
        counts.close()
        others = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
        counts.close()
    for one in (*others, 1):
        os.fstat(one)
    for one in others:
        os.close(one)
