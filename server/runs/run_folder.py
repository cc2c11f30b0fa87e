"""The run folder: everything a run did, readable without fedsms.

runs/20261122-170501-default/
    settings.json       resolved settings: recipe, nodes, seed; versions on every side
    metrics.jsonl       a line a round and node, and one a round for all nodes (node "*")
    summary.json        how the run ended, the last metrics that were taken, its totals
    model.safetensors   the newest aggregated model, by the names of its state_dict
    config.json         its recipe, for `predict` and `evaluate`
    checkpoints/        the models of the last rounds
    server-optimizer-00007.safetensors
                        what the server optimiser remembers after that round, where there is one
    scores.json         the newest round's counts of held-out rows by bin of their score
    comparison.json     what each owner has alone, where somebody compared the newest model
    report.html         all of it as one page, which opens offline
    log.txt             what happened, with times

While a coordinator works in it, it holds a lock on the folder.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from server.aggregation.server_optimizer import Moments
from server.display.words import notice_line, round_line
from server.rounds.records import Round
from server.runs.comparison_file import drop_comparison
from server.runs.lasting_pool import LastingPool
from server.runs.report import try_report
from server.runs.resume import StoppedRun
from server.runs.run_lock import RunLock
from server.runs.run_log import close_log, open_log
from server.runs.scores_file import save_scores
from server.runs.server_moments import drop_moments, save_moments
from shared.errors import StorageError
from shared.files import append_lines, make_folder, storage_error, write_whole
from shared.model.metrics import Metrics
from shared.model.recipe import Recipe
from shared.model.vectors import Vector
from shared.trained_model.saved_model import SavedModel, save
from shared.wire.commands import Progress

log = logging.getLogger("fedsms.coordinator")


class RunFolder:
    """Writes a run as it goes; an Observer of the coordinator.

    Args:
        parent: where run folders live, for instance `runs`.
        name: last part of the folder's name.
        recipe: what the run trains.
        settings: what else belongs into settings.json.
        checkpoints: how many rounds' models are kept; 0 keeps none but the newest model.
        stopped: the run that goes on in its own folder; None begins a new one.
        moments: gives what the server optimiser remembers; asked once a round is complete.

    Raises:
        StorageError: the folder cannot be made or written to.
    """

    def __init__(
        self,
        parent: Path,
        name: str,
        recipe: Recipe,
        settings: dict[str, Any],
        checkpoints: int,
        stopped: StoppedRun | None = None,
        moments: Callable[[], Moments] = dict,
    ) -> None:
        self._recipe = recipe
        self._moments = moments
        self._kept = checkpoints
        self._started = time.monotonic()
        self._totals = _Totals()
        for record in stopped.rounds if stopped is not None else ():
            self._totals.add(record)
        self._disk = LastingPool(1, thread_name_prefix="run-folder")
        self._writing: Future[None] | None = None
        self.path = stopped.path if stopped is not None else _make(parent, name)
        # A stopped run was locked when it was opened.
        self._lock = RunLock(self.path) if stopped is None else stopped.lock
        self._handler = open_log(self.path / "log.txt")
        write_whole(self.path / "settings.json", _json({"recipe": recipe.model_dump(), **settings}))

    def on_progress(self, number: int, node: str, stage: str, progress: Progress | None) -> None:
        if progress is None:
            log.debug("round %d, %s: %s", number, node, stage)

    def on_notice(self, number: int, node: str, text: str) -> None:
        log.warning("%s", notice_line(number, node, text))

    def on_round(self, record: Round, state: Vector) -> None:
        """Writes the round's metrics and model, beside the next round's work.

        Raises:
            StorageError: a file of this round, or of the one before, cannot be written.
        """
        self._wait_for_disk()
        self._totals.add(record)
        self._writing = self._disk.submit(self._write, record, state, self._moments())
        log.info("%s", round_line(record))

    def _write(self, record: Round, state: Vector, moments: Moments) -> None:
        self._lock.require_folder()
        # Metrics first: a model in the folder is always one whose round is told of.
        append_lines(self.path / "metrics.jsonl", [json.dumps(row) for row in record.rows()])
        model = SavedModel(self._recipe, state)
        facts = {"round": record.number, "metrics": record.metrics.as_dict()}
        if self._kept:
            folder = self.path / "checkpoints" / f"round-{record.number:05d}"
            make_folder(folder.parent, parents=False)  # a run folder that is gone stays gone
            make_folder(folder)
            save(folder, model, facts)
            self._drop_old_checkpoints()
        # Before the model, which says that the round is complete; the one before's goes after it.
        save_moments(self.path, record.number, moments)
        drop_comparison(self.path)  # before it too: what is there is of the model before
        save(self.path, model, facts)
        save_scores(self.path, record.number, record.scores)
        drop_moments(self.path, record.number)

    def settle(self) -> None:
        """Waits until all rounds that are complete are on the disk. Safe from any thread.

        Raises:
            StorageError: one cannot be written.
        """
        writing = self._writing
        if writing is not None:
            writing.result()

    def _wait_for_disk(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def finish(self, status: str, error: str = "") -> None:
        """Waits for the disk, writes summary.json and closes the log.

        Args:
            status: "completed", "stopped" by whoever led it, "interrupted" or "failed".
            error: what it failed with, "" when it did not.

        Raises:
            StorageError: the last round, or the summary, cannot be written.
        """
        try:
            self._wait_for_disk()
        except StorageError as failure:
            self._close("failed", str(failure))
            raise
        self._close(status, error)

    def _close(self, status: str, error: str) -> None:
        self._disk.shutdown()
        log.info("the run is %s %s", status, error)
        close_log(self._handler)
        summary = {
            "status": status,
            "error": error,
            "rounds": self._recipe.federation.rounds,
            **self._totals.as_dict(),
            "model_bytes": 4 * self._recipe.parameters,
            "seconds": time.monotonic() - self._started,
        }
        try:
            write_whole(self.path / "summary.json", _json(summary))
            try_report(self.path)
        finally:
            self._lock.release()

    def _drop_old_checkpoints(self) -> None:
        for folder in sorted((self.path / "checkpoints").glob("round-*"))[: -self._kept]:
            # One that cannot be removed costs space, and is not worth the run.
            shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _Totals:
    """What summary.json says of all rounds together.

    measured: the round that the metrics are of.
    """

    rounds: int = 0
    seconds: float = 0.0
    sent: int = 0
    received: int = 0
    metrics: Metrics | None = None
    measured: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, record: Round) -> None:
        self.rounds = record.number
        self.seconds += record.seconds
        self.sent += sum(node.bytes_sent for node in record.nodes)
        self.received += sum(node.bytes_received for node in record.nodes)
        if record.metrics.rows or self.metrics is None:
            self.metrics, self.measured = record.metrics, record.number
        self.left_out.update(record.without.keys())

    def as_dict(self) -> dict[str, Any]:
        return {
            "rounds_completed": self.rounds,
            "metrics": self.metrics.as_dict() if self.metrics else None,
            "metrics_of_round": self.measured or None,
            "seconds_in_rounds": self.seconds,
            "bytes_sent": self.sent,
            "bytes_received": self.received,
            "rounds_left_out": dict(sorted(self.left_out.items())),
        }


def _make(parent: Path, name: str) -> Path:
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
    for number in range(1, 1000):
        path = parent / (f"{stamp}-{safe}" if number == 1 else f"{stamp}-{safe}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if parent.is_dir():
                continue
            raise storage_error(
                "make a run folder in", parent, NotADirectoryError(20, "")
            ) from None
        except OSError as error:
            raise storage_error("make the run folder", path, error) from error
        return path
    raise storage_error("make a run folder in", parent, FileExistsError(17, ""))


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=2) + "\n").encode()
