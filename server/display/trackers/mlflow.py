"""MLflow: a run's figures, settings and model at the server that MLFLOW_TRACKING_URI names.

The run there carries this run's id as a tag, by which a run that goes on finds it again. Figures
have the time that the rounds took since the run began, so that what is sent twice is one and the
same value, which MLflow keeps once; a round that is there already is not sent at all.

The experiment is that of MLFLOW_EXPERIMENT_NAME, or "fedsms". MLflow's client would tell its
makers how it is used (https://mlflow.org/docs/latest/community/usage-tracking/): that is off here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from server.display.trackers.figures import scalars_of
from server.display.trackers.tracker import Status, TrackedRun
from server.rounds.records import Round

TAG = "fedsms.run"
MARK = "round/loss"
"""The figure by which a round that is there is known; it is sent last."""
EXPERIMENT = "fedsms"
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
"""For MLflow's client, where nobody said otherwise."""
MOST_METRICS = 1000
MOST_PARAMS = 100
MOST_CHARACTERS = 500
"""Of one request, and of one parameter: the REST API's bounds, the last that of older servers."""
FILES = ("settings.json", "metrics.jsonl", "config.json", "model.safetensors", "comparison.json")
ENDED = {
    "completed": "FINISHED",
    "stopped": "FINISHED",
    "interrupted": "KILLED",
    "failed": "FAILED",
}


class MlflowTracker:
    """Talks with an MLflow server; see Tracker. Raises what MLflow's client raises."""

    def __init__(self, run: TrackedRun) -> None:
        self._run = run
        self._client: Any = None
        self._experiment = self._id = ""
        self._began = 0
        self._seconds = 0.0

    def begin(self, before: Sequence[Round]) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries; their end is told
        from mlflow import MlflowClient

        self._client = MlflowClient()
        there = self._find() or self._make(sum(record.seconds for record in before))
        self._id, self._began = there.info.run_id, there.info.start_time
        self._client.update_run(self._id, status="RUNNING")
        self._say_settings(there.data.params)
        known = {one.step for one in self._client.get_metric_history(self._id, MARK)}
        for record in before:
            self._send(record, is_known=record.number in known)

    def write(self, record: Round) -> None:
        self._send(record)

    def finish(self, status: Status) -> None:
        for name in FILES:
            path = self._run.path / name
            if path.exists():
                self._client.log_artifact(self._id, str(path))
        self._client.set_terminated(self._id, ENDED[status])

    def close(self) -> None:
        """Each request has its own connection."""

    def _find(self) -> Any:
        """The run of this id that is there already; None where there is none."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        self._experiment = (
            experiment.experiment_id if experiment else self._client.create_experiment(name)
        )
        wanted = f"tags.`{TAG}` = '{self._run.run}'"
        found = self._client.search_runs([self._experiment], wanted, max_results=1)
        return found[0] if found else None

    def _make(self, seconds: float) -> Any:
        """Args: seconds: that the run has taken until now."""
        began = int(1000 * (datetime.now(UTC).timestamp() - seconds))
        tags = {TAG: self._run.run}
        return self._client.create_run(self._experiment, began, tags, self._run.path.name)

    def _say_settings(self, there: dict[str, str]) -> None:
        """A parameter that is there stays: MLflow changes none."""
        from mlflow.entities import Param

        lacking = [
            Param(name, str(value)[:MOST_CHARACTERS])
            for name, value in self._run.settings.items()
            if name not in there
        ]
        for first in range(0, len(lacking), MOST_PARAMS):
            self._client.log_batch(self._id, params=lacking[first : first + MOST_PARAMS])

    def _send(self, record: Round, is_known: bool = False) -> None:
        from mlflow.entities import Metric

        self._seconds += record.seconds
        if is_known:
            return
        at = self._began + int(1000 * self._seconds)
        scalars = sorted(scalars_of(record).items(), key=lambda one: one[0] == MARK)
        metrics = [Metric(name, value, at, record.number) for name, value in scalars]
        for first in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._id, metrics=metrics[first : first + MOST_METRICS])
