"""Trackers as a user has them: real nodes, the command, and the programs that people look with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.local.nodes import NO_SETTINGS
from tests.helpers.running import Finished, done_well, refused, run_python
from tests.helpers.trackers import curve

pytestmark = pytest.mark.timeout(120)
Cli = Callable[..., Finished]


def train(cli: Cli, quick: Path, flags: list[str], *more: object, **extra: str) -> Finished:
    return cli("server", "train", *NO_SETTINGS, "--recipe", quick, *flags, *more, **extra)


def run_of(folder: Path) -> Path:
    (found,) = (folder / "runs").iterdir()
    return found


def rows(run: Path, node: str = "*") -> dict[int, dict[str, Any]]:
    """A node's rows of metrics.jsonl, by round."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["round"]: row for row in map(json.loads, lines) if row["node"] == node}


def figures(run: Path, node: str, name: str) -> Any:
    """A figure by round, as near as event files have it: they have half of its digits."""
    return pytest.approx({number: row[name] for number, row in rows(run, node).items()}, rel=1e-6)


def test_a_run_that_is_tracked_by_tensorboard_reads_there_as_in_its_folder(
    cli: Cli, quick: Path, node_flags: list[str], tmp_path: Path
) -> None:
    done = train(cli, quick, node_flags, "--track", "tensorboard")
    done_well(done)
    assert "lacks" not in done.err
    run = run_of(tmp_path)
    for name in ("loss", "held_out_roc_auc", "bytes_sent", "seconds"):
        assert dict(curve(run, f"round/{name}")) == figures(run, "*", name)
    node = sorted(json.loads((run / "settings.json").read_text())["nodes"])[0]
    assert dict(curve(run, f"node/{node}/loss")) == figures(run, node, "loss")


def test_a_run_without_trackers_can_have_them_when_it_is_over(
    cli: Cli, quick: Path, node_flags: list[str], tmp_path: Path
) -> None:
    done_well(train(cli, quick, node_flags))
    run = run_of(tmp_path)
    assert not (run / "tensorboard").exists()
    for _ in range(2):
        line = ("server", "train", "--resume", run, "--track", "tensorboard")
        done_well(cli(*line))
        assert [step for step, _ in curve(run, "round/loss")] == sorted(rows(run))


def test_a_tracker_that_cannot_write_costs_a_line_and_not_the_run(
    cli: Cli, quick: Path, node_flags: list[str], tmp_path: Path
) -> None:
    done_well(train(cli, quick, node_flags))
    run = run_of(tmp_path)
    (run / "tensorboard").write_text("in its place", encoding="utf-8")
    done = cli("server", "train", "--resume", run, "--track", "tensorboard")
    done_well(done)
    (line,) = [one for one in done.err.splitlines() if "tensorboard" in one]
    assert line.startswith("tensorboard lacks some of this run: cannot")
    assert f"--resume {run}" in line
    assert json.loads((run / "summary.json").read_text())["status"] == "completed"
    assert line in (run / "log.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("track", "package", "file"),
    [
        ("tensorboard", "tensorboardX", "requirements-tensorboard.txt"),
        ("mlflow", "mlflow", "requirements-mlflow.txt"),
        ("tensorboard,mlflow", "tensorboardX", "requirements-tensorboard.txt"),
    ],
)
def test_a_tracker_whose_package_is_absent_is_said_before_anybody_is_dialled(
    tmp_path: Path, track: str, package: str, file: str
) -> None:
    script = (
        "import sys, runpy\n"
        "sys.modules['tensorboardX'] = sys.modules['mlflow'] = None\n"
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "absent = lambda name: sys.modules.get(name, 1) is None\n"
        "u.find_spec = lambda name, *more: None if absent(name) else find(name, *more)\n"
        "runpy.run_module('server', run_name='__main__')\n"
    )
    arguments = ("train", "--node", "bob=ws://127.0.0.1:9", "--track", track)
    done = run_python("-c", script, *arguments, cwd=tmp_path)
    refused(done, f"--track {track.split(',')[0]} needs the package {package}", code=2)
    assert f"pip install --no-deps -r {file}" in done.err
    assert not (tmp_path / "runs").exists()


def test_a_run_without_page_trackers_and_metrics_loads_nothing_of_them(
    quick: Path, node_flags: list[str], tmp_path: Path
) -> None:
    script = (
        "import sys, runpy\n"
        "try:\n"
        "    runpy.run_module('server', run_name='__main__')\n"
        "except SystemExit as ended:\n"
        "    print('LOADED', *sys.modules)\n"
        "    raise\n"
    )
    arguments = ("train", *NO_SETTINGS, "--recipe", quick, *node_flags)
    out = done_well(run_python("-c", script, *arguments, cwd=tmp_path))
    loaded = set(out.rpartition("LOADED")[2].split())
    assert {"server.runs.training_run", "server.display.trackers.tracker"} <= loaded
    packages = {name.split(".")[0] for name in loaded}
    theirs = {"tensorboardX", "mlflow", "google", "prometheus_client", "bokeh", "wsgiref"}
    assert theirs & packages == set()
    ours = {"server.federation.live_page", "server.display.run_metrics", "shared.page.serving"}
    assert {*ours, "server.display.trackers.tensorboard", "shared.prometheus"} & loaded == set()
