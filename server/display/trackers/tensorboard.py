"""TensorBoard: a run's figures, settings and weights as event files in RUN/tensorboard.

Written with tensorboardX, which needs neither TensorFlow nor TensorBoard. A run that goes on has a
further file, with the rounds that are not there yet; its first event has readers forget what older
files say of these, which a run that was killed may have left, so that no step is there twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import safetensors.numpy

from server.display.trackers.figures import scalars_of
from server.display.trackers.tracker import Status, TrackedRun
from server.rounds.records import Round
from shared.errors import StorageError
from shared.files import is_present, make_folder, read_bytes, storage_error, write_whole
from shared.trained_model.saved_model import WEIGHTS

FOLDER = "tensorboard"
KEPT = "tracked.json"
"""How far the event files are: {"rounds": 5, "end": [5, "stopped"]}."""
BINS = 60
"""Of the histogram of a weight."""


class TensorBoardTracker:
    """Writes event files; see Tracker.

    Raises StorageError where they cannot be written.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._run = run
        self._folder = run.path / FOLDER
        self._writer: Any = None
        self._last = 0
        self._kept: dict[str, Any] = {}

    def begin(self, before: Sequence[Round]) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog
        from tensorboardX.summary import text

        make_folder(self._folder, parents=False)
        self._kept = self._read_kept()
        there = min(self._kept["rounds"], len(before) and before[-1].number)
        lacking = [record for record in before if record.number > there]
        self._last = there
        try:
            prefix = str(self._folder.absolute() / "events")
            older = sum(1 for _ in self._folder.glob("events.*"))
            self._writer = EventsWriter(prefix, f".{older:04d}")  # or one of this second is lost
            now = _now() - sum(record.seconds for record in lacking)
            start = SessionLog(status=SessionLog.START)
            self._event(there + 1 if there else 0, now, session_log=start)
            if not there:
                settings = json.dumps(self._run.settings, indent=2, default=str)
                code = "".join(f"    {line}\n" for line in settings.splitlines())
                self._event(0, now, summary=text("settings", code))
            for record in lacking:
                now += record.seconds
                self._round(record, now)
            self._flush()
        except OSError as error:
            raise self._unwritten(error) from error

    def write(self, record: Round) -> None:
        try:
            self._round(record, _now())
            self._flush()
        except OSError as error:
            raise self._unwritten(error) from error

    def finish(self, status: Status) -> None:
        from tensorboardX.summary import histogram, text

        end = [self._last, status]
        if self._kept.get("end") == end:  # of a run that was over, and is so again
            return
        try:
            now = _now()
            if (self._run.path / WEIGHTS).exists():
                for name, values in safetensors.numpy.load_file(self._run.path / WEIGHTS).items():
                    found = histogram(f"model/{name}", values.ravel(), bins=BINS)
                    self._event(self._last, now, summary=found)
            self._event(self._last, now, summary=text("status", status))
            self._kept["end"] = end
            self._flush()
        except OSError as error:
            raise self._unwritten(error) from error

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _round(self, record: Round, now: float) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in scalars_of(record).items()
        ]
        self._event(record.number, now, summary=Summary(value=values))
        self._last = record.number

    def _event(self, step: int, now: float, **what: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(step=step, wall_time=now, **what))

    def _flush(self) -> None:
        """What is written is on its way to the disk, and noted after it."""
        self._writer.flush()
        self._kept["rounds"] = self._last
        write_whole(self._folder / KEPT, json.dumps(self._kept).encode(), durable=False)

    def _read_kept(self) -> dict[str, Any]:
        """Of a file that is damaged nothing: then all rounds are written anew."""
        nothing: dict[str, Any] = {"rounds": 0}
        path = self._folder / KEPT
        try:
            found = json.loads(read_bytes(path, 1000)) if is_present(path) else nothing
        except (StorageError, ValueError, RecursionError):
            return nothing
        return found if isinstance(found, dict) and type(found.get("rounds")) is int else nothing

    def _unwritten(self, error: OSError) -> StorageError:
        return storage_error("write", self._folder, error)


def _now() -> float:
    """Seconds since 1970, which is how event files tell time."""
    return datetime.now(UTC).timestamp()
