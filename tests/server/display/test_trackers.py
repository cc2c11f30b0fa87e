"""Trackers beside a run: what they are given, what they cost, and how they fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from server.display.trackers.figures import NODE, scalars_of
from server.display.trackers.tensorboard import KEPT, TensorBoardTracker
from server.display.trackers.tracker import Status, Tracking
from server.rounds.records import Round
from shared.errors import StorageError
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from tests.helpers.run_folders import OWNERS, made_round, made_run
from tests.helpers.trackers import curve, event_files, followed, tracked

STATE = np.zeros(3, np.float32)


def test_a_rounds_figures_have_the_names_and_values_of_its_record() -> None:
    record = made_round(3, 5)
    found = scalars_of(record)
    *each, total = record.rows()
    assert found["round/loss"] == total["loss"]
    assert found["round/nodes"] == len(OWNERS)
    assert found["round/nodes_left_out"] == 0
    assert {name for name in found if name.startswith("node/bob/")} == {
        f"node/bob/{name}" for name in NODE if each[1].get(name) is not None
    }
    assert found["node/bob/held_out_roc_auc"] == each[1]["held_out_roc_auc"]
    assert not {name for name in found if name.endswith(("/round", "/secure_aggregation"))}
    assert all(type(value) in (int, float) for value in found.values())


def test_of_a_round_of_sums_there_is_nothing_of_one_owner() -> None:
    record = made_round(3, 5)
    hidden = [
        replace(one, rows=None, loss=None, metrics=None, rows_counted=None) for one in record.nodes
    ]
    secure = Round.of_sum(
        3, 5, hidden, record.metrics, 1.5, rows=330, loss=0.25, seconds_training=0.9
    )
    found = scalars_of(secure)
    assert (found["round/rows"], found["round/loss"]) == (330, 0.25)
    assert not [name for name in found if not name.startswith("round/")]
    assert not [name for name in found for owner in OWNERS if owner in name]


def test_figures_that_a_round_cannot_tell_are_left_out_and_never_nought() -> None:
    record = made_round(1, 1)
    unknown = replace(record.metrics, roc_auc=None, loss=float("inf"))
    found = scalars_of(replace(record, metrics=unknown))
    assert "round/held_out_roc_auc" not in found
    assert "round/held_out_loss" not in found


class Remembering:
    """A Tracker in memory."""

    def __init__(self, fails_at: str = "", waits: threading.Event | None = None) -> None:
        self.calls: list[object] = []
        self._fails_at = fails_at
        self._waits = waits

    def _did(self, what: str, call: object) -> None:
        if self._waits is not None:
            self._waits.wait()
        self.calls.append(call)
        if what == self._fails_at:
            raise ValueError("no \x1b[31mroom\nat all")

    def begin(self, before: Sequence[Round]) -> None:
        self._did("begin", [one.number for one in before])

    def write(self, record: Round) -> None:
        self._did("write", record.number)

    def finish(self, status: Status) -> None:
        self._did("finish", status)

    def close(self) -> None:
        self.calls.append("closed")


def test_a_tracker_gets_each_round_once_in_order_and_then_the_end() -> None:
    told: list[str] = []
    tracker = Remembering()
    followed(tracker, told)
    assert tracker.calls == [[], 1, 2, 3, "completed", "closed"]
    assert told == []


def test_a_run_that_goes_on_gives_it_the_rounds_before_as_well() -> None:
    tracker = Remembering()
    followed(tracker, [], rounds=4, before=3)
    assert tracker.calls == [[1, 2, 3], 4, "completed", "closed"]


@pytest.mark.parametrize(
    ("where", "calls"),
    [("begin", [[]]), ("write", [[], 1]), ("finish", [[], 1, 2, 3, "completed"])],
)
def test_a_tracker_that_fails_costs_one_line_and_is_let_go_of(
    where: str, calls: list[object]
) -> None:
    told: list[str] = []
    tracker = Remembering(where)
    followed(tracker, told)
    assert tracker.calls == [*calls, "closed"]
    assert told == [r"it lacks some of this run: ValueError: no \x1b[31mroom at all. Do so."]


def test_a_tracker_that_hangs_is_not_waited_for_beyond_patience() -> None:
    told: list[str] = []
    never = threading.Event()
    try:
        followed(Remembering(waits=never), told, patience=0.05)
    finally:
        never.set()
    assert told == ["it lacks some of this run: did not take all within 0.05 s. Do so."]


def test_nothing_is_tracked_of_rounds_that_are_not_on_the_disk() -> None:
    told: list[str] = []
    tracker = Remembering()

    def full() -> None:
        raise StorageError("cannot write the run folder", "no space left on device")

    async def run() -> None:
        tracking = Tracking("it", tracker, [], full, told.append, "Do so.")
        tracking.on_round(made_round(1, 1), STATE)
        await tracking.finish("failed")

    asyncio.run(run())
    assert tracker.calls == [[], "closed"]
    assert len(told) == 1


def test_tensorboard_reads_figures_settings_and_the_model(tmp_path: Path, quick: Path) -> None:
    recipe = Recipe.parse({}, "the default")
    run = made_run(tmp_path, recipe, 3)
    followed(TensorBoardTracker(tracked(run)), [])
    found = event_files(run)
    for name, value in scalars_of(made_round(2, 3)).items():
        steps = {one.step: one.value for one in found.Scalars(name)}
        assert sorted(steps) == [1, 2, 3], name
        assert steps[2] == pytest.approx(value, rel=1e-6), name
    (settings,) = found.Tensors("settings/text_summary")
    assert b'"seed": "seed\'s"' in settings.tensor_proto.string_val[0]
    (status,) = found.Tensors("status/text_summary")
    assert status.tensor_proto.string_val == [b"completed"]
    histograms = found.Tags()["histograms"]
    assert histograms
    assert sum(found.Histograms(name)[0].histogram_value.num for name in histograms) == len(
        initial_state(recipe, 1)
    )


def test_a_run_that_goes_on_has_no_step_twice_and_lacks_none(tmp_path: Path) -> None:
    """Also where a first part tracked more than is on the disk, or less."""
    for begun, before in ((2, 2), (3, 2), (1, 3), (0, 3)):
        run = tmp_path / f"{begun}-{before}"
        run.mkdir()
        if begun:
            followed(TensorBoardTracker(tracked(run)), [], rounds=begun)
        followed(TensorBoardTracker(tracked(run)), [], rounds=5, before=before)
        assert [step for step, _ in curve(run, "round/loss")] == [1, 2, 3, 4, 5]


def test_a_reader_that_follows_sees_no_step_twice_when_the_run_goes_on(tmp_path: Path) -> None:
    followed(TensorBoardTracker(tracked(tmp_path)), [], rounds=3)
    reader = event_files(tmp_path)
    assert len(reader.Scalars("round/loss")) == 3
    followed(TensorBoardTracker(tracked(tmp_path)), [], rounds=5, before=2)
    reader.Reload()
    assert [one.step for one in reader.Scalars("round/loss")] == [1, 2, 3, 4, 5]


def test_a_run_that_was_killed_amid_a_round_has_no_step_twice(tmp_path: Path) -> None:
    """What it noted of its files is older than they are."""
    run = tmp_path / "run"
    run.mkdir()
    kept = run / "tensorboard" / KEPT
    followed(TensorBoardTracker(tracked(run)), [], rounds=2)
    before = kept.read_bytes()
    followed(TensorBoardTracker(tracked(run)), [], rounds=4, before=2)
    for noted in (before, b"", b"[]", b'{"rounds": "many"}'):
        kept.write_bytes(noted)
        followed(TensorBoardTracker(tracked(run)), [], rounds=5, before=3)
        assert [step for step, _ in curve(run, "round/loss")] == [1, 2, 3, 4, 5]
        settings = event_files(run).Tensors("settings/text_summary")
        assert {one.step for one in settings} == {0}


def test_a_run_that_is_over_is_not_written_twice(tmp_path: Path) -> None:
    for _ in range(2):
        followed(TensorBoardTracker(tracked(tmp_path)), [], rounds=3, before=3)
    found = event_files(tmp_path)
    assert len(found.Tensors("status/text_summary")) == 1
    assert len(found.Scalars("round/loss")) == 3


def test_a_folder_that_cannot_be_written_costs_a_line(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("in its place", encoding="utf-8")
    told: list[str] = []
    followed(TensorBoardTracker(tracked(tmp_path)), told)
    assert len(told) == 1
    assert "it lacks some of this run: cannot" in told[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is full")
def test_a_full_disk_costs_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full takes a file's place: each write that reaches it fails as on a full disk."""
    from tensorboardX import record_writer

    told: list[str] = []
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(record_writer, "open_file", lambda _: full)
        followed(TensorBoardTracker(tracked(tmp_path)), told)
    assert len(told) == 1
    assert "No space left on device" in told[0]
