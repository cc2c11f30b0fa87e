"""What the version before this wave left behind is gone on with: docs/upgrading.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.messages import marked, write_tsv
from tests.helpers.older_version import BEFORE_THIS_WAVE, Version, today, unpacked
from tests.helpers.running import done_well, until
from worker_node.guarding.set_up import COUNTS, OLD_COUNTS, ledger_beside

OWNERS = ("bob", "anne")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return unpacked(BEFORE_THIS_WAVE, tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def left(old: Version, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coordinator's folder and two owners': CA, identities, logs, a whole run, a killed one."""
    top = tmp_path_factory.mktemp("left")
    for place, owner in enumerate(OWNERS):
        (top / owner).mkdir()
        write_tsv(top / owner / "messages.tsv", marked(240)[place::2])
    enrol(old, top)
    with old.nodes([top / owner for owner in OWNERS]) as nodes:
        flags = ("train", *nodes, "--recipe", "tutorial", "--rounds")
        done_well(old.run("server", *flags, 2, "--name", "first", cwd=top / "coordinator"))
        killed = old.start("server", *flags, 30, "--name", "second", cwd=top / "coordinator")
        metrics = top / "coordinator" / "runs"
        until(
            lambda: any(one.stat().st_size for one in metrics.glob("*second/metrics.jsonl")),
            "a round",
        )
        killed.kill()
        killed.communicate()
    return top


def enrol(version: Version, top: Path) -> None:
    coordinator = top / "coordinator"
    coordinator.mkdir()
    done_well(version.run("server", "init", cwd=coordinator))
    for owner in OWNERS:
        done_well(version.run("worker_node", "init", "--id", owner, cwd=top / owner))
        shutil.copy(top / owner / "identity" / f"{owner}.csr", coordinator)
        done_well(version.run("server", "admit", f"{owner}.csr", "--yes", cwd=coordinator))
        shutil.copy(coordinator / f"{owner}.pem", top / owner)
        done_well(version.run("worker_node", "join", f"{owner}.pem", cwd=top / owner))


@pytest.fixture
def upgraded(left: Path, tmp_path: Path) -> Path:
    """The folders, for one test to go on in."""
    return Path(shutil.copytree(left, tmp_path / "federation"))


@pytest.fixture
def nodes(upgraded: Path) -> Iterator[list[str]]:
    with today().nodes([upgraded / owner for owner in OWNERS]) as flags:
        yield flags


def run_called(upgraded: Path, name: str) -> Path:
    (found,) = (upgraded / "coordinator" / "runs").glob(f"*-{name}")
    return found


def test_runs_are_listed_shown_and_their_models_used(upgraded: Path) -> None:
    coordinator = upgraded / "coordinator"
    told = json.loads(done_well(today().run("server", "runs", "--json", cwd=coordinator)))
    assert {one["name"][-6:]: one["status"] for one in told} == {
        "-first": "completed",
        "second": "interrupted",
    }
    shown = today().run("server", "show", run_called(upgraded, "first"), cwd=coordinator)
    assert "report.html" in done_well(shown)
    assert (run_called(upgraded, "first") / "report.html").stat().st_size
    said = done_well(today().run("server", "predict", "--json", "a prize", cwd=coordinator))
    assert 0 < json.loads(said)["spam"] < 1


def test_a_run_that_the_older_version_began_is_gone_on_with(
    upgraded: Path, nodes: list[str]
) -> None:
    second = run_called(upgraded, "second")
    line = ("train", *nodes, "--resume", second)
    done_well(today().run("server", *line, cwd=upgraded / "coordinator"))
    assert json.loads((second / "summary.json").read_text())["status"] == "completed"
    told = [
        json.loads(line)["round"] for line in (second / "metrics.jsonl").read_text().splitlines()
    ]
    assert sorted(set(told)) == list(range(1, 31))


def test_a_node_goes_on_in_its_log_with_its_policy_and_counts(
    upgraded: Path, nodes: list[str]
) -> None:
    bob = upgraded / "bob"
    counted = json.loads((bob / "identity" / OLD_COUNTS).read_text())["rounds"]
    lines = len((bob / "identity" / "audit.jsonl").read_text().splitlines())
    flags = (*nodes, "--recipe", "tutorial", "--rounds", 1)
    done_well(today().run("server", "train", *flags, cwd=upgraded / "coordinator"))
    told = done_well(today().run("worker_node", "log", "--verify", cwd=bob))
    after = len((bob / "identity" / "audit.jsonl").read_text().splitlines())
    assert after > lines
    assert f"Lines 1 to {after} are all there, unchanged." in told
    assert json.loads((bob / "identity" / OLD_COUNTS).read_text())["rounds"] == counted + 1
    assert not (bob / "identity" / COUNTS).exists()


def test_a_budget_does_not_begin_anew_with_the_name_of_the_counts(tmp_path: Path) -> None:
    for name in ("", "bob.audit."):
        older = ledger_beside(tmp_path / f"{name}{OLD_COUNTS}")
        assert (
            older
            == ledger_beside(tmp_path / f"{name}{COUNTS}")
            == tmp_path / f"{name}privacy.jsonl"
        )


@pytest.mark.parametrize("new_side", ["coordinator", "nodes"])
def test_two_versions_do_not_work_together_and_say_so(
    old: Version, upgraded: Path, new_side: str
) -> None:
    coordinator, nodes = (today(), old) if new_side == "coordinator" else (old, today())
    with nodes.nodes([upgraded / owner for owner in OWNERS]) as flags:
        done = coordinator.run("server", "status", *flags, cwd=upgraded / "coordinator")
    assert done.code
    assert done.out.count("they differ in protocol") == 2, done
