"""A run in MLflow: a real server of this machine, asked as people's programs ask it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.local.nodes import NO_SETTINGS
from server.display.trackers.figures import scalars_of
from server.display.trackers.mlflow import TAG, MlflowTracker
from server.display.trackers.tracker import TrackedRun
from shared.model.recipe import Recipe
from tests.helpers.run_folders import made_round, made_run
from tests.helpers.running import Finished, done_well, environment, run, until
from tests.helpers.trackers import followed

pytest.importorskip("mlflow", reason="requirements-mlflow.txt is not installed")
pytest.importorskip("huey", reason="requirements-mlflow-server.txt is not installed")
pytestmark = pytest.mark.timeout(300)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def asked(address: str, path: str, **body: object) -> Any:
    """What the server answers to its documented REST API."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(
        f"{address}/{path}", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.read() == b"OK")
    except OSError:
        return False


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address. It and what it starts are a process group of their own, ended by its id."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    line = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/runs.sqlite"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    own = environment(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            line, cwd=folder, env=own, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: is_up(address) or server.poll() is not None, "MLflow", 180, every=0.2)
        assert server.poll() is None, (folder / "log").read_text(encoding="utf-8")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def runs_at(address: str, run_id: str) -> list[Any]:
    experiment = asked(address, "api/2.0/mlflow/experiments/get-by-name?experiment_name=fedsms")
    found = asked(
        address,
        "api/2.0/mlflow/runs/search",
        experiment_ids=[experiment["experiment"]["experiment_id"]],
        filter=f"tags.`{TAG}` = '{run_id}'",
    )
    return list(found.get("runs", []))


def history(address: str, run: Any, key: str) -> list[tuple[int, float]]:
    path = "api/2.0/mlflow/metrics/get-history"
    found = asked(address, f"{path}?run_id={run['info']['run_id']}&metric_key={key}")
    return [(int(one["step"]), one["value"]) for one in found.get("metrics", [])]


def artifacts(address: str, run: Any) -> set[str]:
    found = asked(address, f"api/2.0/mlflow/artifacts/list?run_id={run['info']['run_id']}")
    return {one["path"] for one in found.get("files", [])}


def test_mlflow_has_figures_settings_and_the_model(
    mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    run = made_run(tmp_path, Recipe.parse({}, "the default"), 3)
    told: list[str] = []
    followed(MlflowTracker(TrackedRun(run, "figures", {"seed": 1, "long": "x" * 9999})), told)
    assert told == []
    (found,) = runs_at(mlflow_server, "figures")
    assert found["info"]["status"] == "FINISHED"
    assert found["info"]["run_name"] == run.name
    assert {one["key"]: one["value"] for one in found["data"]["params"]} == {
        "seed": "1",
        "long": "x" * 500,
    }
    scalars = scalars_of(made_round(2, 3))
    assert {one["key"] for one in found["data"]["metrics"]} == set(scalars)
    for name in ("round/loss", "node/bob/held_out_roc_auc", "node/bob/seconds_training"):
        curve = dict(history(mlflow_server, found, name))
        assert sorted(curve) == [1, 2, 3]
        assert curve[2] == pytest.approx(scalars[name])
    assert artifacts(mlflow_server, found) == {
        *("settings.json", "metrics.jsonl", "config.json", "model.safetensors")
    }


def test_a_run_that_goes_on_is_the_same_one_there_without_a_step_twice(
    mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of one that was tracked further, or less far, than its folder was."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    for begun, before in ((2, 2), (3, 2), (1, 3), (0, 3)):
        run = TrackedRun(tmp_path, f"on-{begun}-{before}", {"seed": begun})
        if begun:
            followed(MlflowTracker(run), [], rounds=begun)
        told: list[str] = []
        changed = TrackedRun(tmp_path, run.run, {"seed": 9, "heartbeat": 5.0})
        followed(MlflowTracker(changed), told, rounds=5, before=before)
        assert told == []
        (found,) = runs_at(mlflow_server, run.run)
        assert [step for step, _ in history(mlflow_server, found, "round/loss")] == [1, 2, 3, 4, 5]
        assert [step for step, _ in history(mlflow_server, found, "node/bob/loss")] == [
            *(1, 2, 3, 4, 5)
        ]
        params = {one["key"]: one["value"] for one in found["data"]["params"]}
        assert params == {"seed": str(begun or 9), "heartbeat": "5.0"}


def test_the_command_tracks_a_run_and_goes_on_with_it(
    mlflow_server: str, quick: Path, node_flags: list[str], tmp_path: Path
) -> None:
    line = ("train", *NO_SETTINGS, "--recipe", quick, *node_flags, "--track", "mlflow", "--json")
    done = command(tmp_path, *line, address=mlflow_server)
    rows = [json.loads(one) for one in done_well(done).splitlines()]  # and nothing of MLflow's own
    assert "lacks" not in done.err
    (folder,) = (tmp_path / "runs").iterdir()
    run_id = json.loads((folder / "settings.json").read_text())["run"]
    done_well(command(tmp_path, "train", "--resume", folder, address=mlflow_server))
    (found,) = runs_at(mlflow_server, run_id)
    losses = {row["round"]: row["loss"] for row in rows if row.get("node") == "*"}
    assert dict(history(mlflow_server, found, "round/loss")) == pytest.approx(losses)
    assert len(history(mlflow_server, found, "round/loss")) == len(losses)
    assert {"model.safetensors", "settings.json"} <= artifacts(mlflow_server, found)


def command(folder: Path, *arguments: object, address: str) -> Finished:
    extra = {"MLFLOW_TRACKING_URI": address}
    return run("server", *arguments, cwd=folder, seconds=120, **extra)


def test_a_server_that_is_dead_costs_a_line_and_not_the_run(
    quick: Path, node_flags: list[str], tmp_path: Path
) -> None:
    line = ("train", *NO_SETTINGS, "--recipe", quick, *node_flags, "--track", "mlflow")
    done = command(tmp_path, *line, address=f"http://127.0.0.1:{free_port()}")
    done_well(done)
    (told,) = [one for one in done.err.splitlines() if "mlflow" in one.lower()]
    assert told.startswith("mlflow lacks some of this run: MlflowException")
    (folder,) = (tmp_path / "runs").iterdir()
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"


def test_without_a_servers_address_nothing_begins(tmp_path: Path) -> None:
    line = ("train", "--node", "bob=ws://127.0.0.1:9", "--track", "mlflow")
    done = command(tmp_path, *line, address="")
    assert done.code == 2
    assert "MLFLOW_TRACKING_URI is not set" in done.err
    assert not (tmp_path / "runs").exists()
