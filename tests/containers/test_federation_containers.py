"""scripts/federation.py on a real engine: three owners, what befalls them, and what is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.containers import COMMAND_SECONDS, TAG, docker, image, inspect
from tests.helpers.messages import marked, messages_found, write_tsv
from tests.helpers.running import PATIENCE_SECONDS, ROOT, Finished, environment, until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

NAME = f"fedsms-tests-{os.getpid()}"
OWNERS = ["bob", "anne", "carol"]
UNDISTURBED = ("running", "connected")
PARTS = ("data", "identity", "audit")
UP = ("up", "--owners", "3", "--partition", "dirichlet", "--alpha", "1", "--no-build")
Run = Callable[..., Finished]


def start(folder: Path, *arguments: object, **extra: str) -> subprocess.Popen[str]:
    """Starts scripts/federation.py in a folder of the test's."""
    name = [] if "--name" in arguments else ["--name", NAME]
    verb, *rest = map(str, arguments)
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(ROOT / "scripts/federation.py"), verb, *name, *rest],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment(FEDSMS_TAG=TAG, SMS_DATA=str(folder / "messages.tsv"), **extra),
    )


def finish(process: subprocess.Popen[str]) -> Finished:
    try:
        out, err = process.communicate(timeout=COMMAND_SECONDS)
    finally:
        process.kill()
    return Finished(process.returncode, out, err)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [one.text for one in marked(240)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    write_tsv(folder / "messages.tsv", marked(240)).chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def federation(built: None, folder: Path) -> Iterator[Run]:
    """Three owners, up; whatever a test does to them, they are removed at the end."""

    def run(*arguments: object, **extra: str) -> Finished:
        return finish(start(folder, *arguments, **extra))

    try:
        up = run(*UP)
        assert up.code == 0, up.err
        yield run
    finally:
        run("down")


@pytest.fixture
def whole(federation: Run) -> Iterator[Run]:
    """The federation with all owners up, before the test and after it, however it ends."""
    yield federation
    if any((one["state"], one["network"]) != UNDISTURBED for one in states_of(federation)):
        assert federation(*UP).code == 0


def states_of(federation: Run) -> list[dict[str, Any]]:
    found = json.loads(federation("ps", "--json").out)
    assert [one["owner"] for one in found] == OWNERS
    return list(found)


def all_are_well(federation: Run) -> bool:
    """Whether the engine, which asks from time to time, has found every node healthy."""
    return all(one["health"] == "healthy" for one in states_of(federation))


def left_of(name: str) -> list[str]:
    """Containers, networks and volumes with a federation's label."""
    label = f"label=fedsms.federation={name}"
    kinds = (("ps", "-aq"), ("network", "ls", "-q"), ("volume", "ls", "-q"))
    return [one for kind in kinds for one in docker(*kind, "-f", label).out.split()]


def answering(status: Finished) -> list[str]:
    return [node["node"] for node in json.loads(status.out) if node["answers"]]


def test_it_trains_to_the_end_and_the_files_are_the_callers(
    federation: Run, folder: Path, quick: Path
) -> None:
    trained = federation("train", "--recipe", quick, "--run-dir", "results/here")
    assert trained.code == 0, trained.err
    assert "round 2/2" in trained.err
    (run,) = (folder / "results" / "here").iterdir()
    assert f"results/here/{run.name}" in trained.out
    assert json.loads((run / "summary.json").read_text())["status"] == "completed"
    assert {path.stat().st_uid for path in run.rglob("*")} == {os.getuid()}
    nodes = json.loads((run / "settings.json").read_text())["nodes"]
    assert sorted(nodes) == sorted(OWNERS)

    predicted = federation("predict", "--run-dir", run.parent, "--", "won a prize")
    assert predicted.code == 0, predicted.err
    assert predicted.out.endswith("won a prize\n")
    assert federation("evaluate", "--run-dir", "results/here").code == 0


def test_rows_and_states_are_told_and_a_second_up_changes_nothing(federation: Run) -> None:
    before = [inspect(f"{NAME}-{owner}")["Id"] for owner in OWNERS]
    assert federation(*UP).code == 0
    assert [inspect(f"{NAME}-{owner}")["Id"] for owner in OWNERS] == before
    until(lambda: all_are_well(federation), "the engine to find all healthy", COMMAND_SECONDS)
    states = states_of(federation)
    assert {(one["state"], one["network"]) for one in states} == {UNDISTURBED}
    assert sum(one["train_rows"] + one["held_out_rows"] for one in states) == 240

    other = federation("up", "--owners", "2", "--no-build")
    assert other.code == 2
    assert "owners 3, not 2" in other.err
    assert f"down --name {NAME}" in other.err


def test_a_killed_node_is_named_and_takes_part_again_once_started(
    whole: Run, folder: Path, quick: Path
) -> None:
    assert whole("kill", "carol").code == 0
    assert "exited (137)" in whole("ps").out
    status = whole("status", "--json")
    assert status.code == 4
    assert answering(status) == ["anne", "bob"]
    trained = whole("train", "--recipe", quick)
    assert trained.code == 4
    assert "carol" in trained.err
    assert trained.err.count("error: ") == 1
    again = whole("kill", "carol")
    assert again.code == 2
    assert "Docker cannot kill carol" in again.err

    assert whole("start", "carol").code == 0
    assert whole("train", "--recipe", quick).code == 0


def test_an_owners_policy_and_audit_log_are_the_nodes(
    whole: Run, folder: Path, quick: Path
) -> None:
    (folder / "carol.toml").write_text("fewest_rows = 1000\n")
    up = whole(*UP, "--policy", "carol=carol.toml")
    assert up.code == 0, up.err
    # a secure sum takes three, and so would end with carol's no
    trained = whole("train", "--recipe", quick, "--secure-aggregation", "off")
    assert trained.code == 0, trained.err
    assert "carol is left out: " in trained.err
    assert "rule fewest_rows" in trained.err
    stopped = whole("train", "--recipe", quick, "--min-nodes", "3", "--run-dir", "asked")
    assert stopped.code == 10, stopped.err

    assert whole("kill", "carol").code == 0
    refused = whole("audit", "carol", "--decision", "refused", "--json").out.splitlines()
    assert {json.loads(line)["what"] for line in refused} == {"propose"}
    assert "signed by this node" in whole("audit", "carol", "--verify").out
    unfit = whole(*UP, "--policy", "carol=messages.tsv")
    assert unfit.code == 2
    assert "is not TOML" in unfit.err

    assert whole(*UP).code == 0  # carol has no policy of her own any more
    (run,) = (folder / "asked").iterdir()
    resumed = whole("train", "--resume", f"asked/{run.name}")
    assert resumed.code == 0, resumed.err
    assert json.loads((run / "summary.json").read_text())["rounds_completed"] == 2


@pytest.mark.parametrize(("away", "back"), [("pause", "unpause"), ("disconnect", "connect")])
def test_a_node_that_is_away_does_not_answer_until_it_is_back(
    whole: Run, away: str, back: str
) -> None:
    assert whole(away, "anne").code == 0
    status = whole("status", "--json")
    assert status.code == 4
    assert answering(status) == ["bob", "carol"]
    assert whole(back, "anne").code == 0
    assert answering(whole("status", "--json")) == ["anne", "bob", "carol"]


def test_ctrl_c_ends_the_training_in_order(federation: Run, folder: Path, slow: Path) -> None:
    training = start(folder, "train", "--recipe", slow, "--run-dir", "stopped")
    runs = folder / "stopped"
    until(lambda: any(runs.glob("*/log.txt")), "a run folder", PATIENCE_SECONDS * 2)
    training.send_signal(signal.SIGINT)
    stopped = finish(training)
    assert stopped.code == 130, stopped.err
    (run,) = runs.iterdir()
    assert json.loads((run / "summary.json").read_text())["status"] == "interrupted"
    label = f"label=fedsms.federation={NAME}"
    assert docker("ps", "-aq", "-f", label, "-f", "label=fedsms.role=coordinator").out == ""


def test_messages_and_keys_are_with_their_owner_alone(federation: Run, texts: list[str]) -> None:
    for owner in OWNERS:
        node = inspect(f"{NAME}-{owner}")
        mounts = {mount["Destination"]: mount["Name"] for mount in node["Mounts"]}
        assert mounts == {f"/{part}": f"{NAME}-{owner}-{part}" for part in PARTS}
        assert list(node["NetworkSettings"]["Networks"]) == [f"{NAME}-{owner}"]
        assert inspect(f"{NAME}-{owner}-data")["Labels"]["fedsms.owner"] == owner
        host = node["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert inspect(f"{NAME}-{owner}")["Config"]["User"] == "10001:10001"
    logs = federation("logs")
    assert logs.out.count("is ready at wss://") >= len(OWNERS)
    assert messages_found(logs.out.encode(), texts) == []


def test_an_unknown_owner_is_an_error_that_names_those_there_are(federation: Run) -> None:
    refused = federation("kill", "bob", "mallory")
    assert refused.code == 2
    assert "no owner is called mallory" in refused.err
    assert "bob, anne, carol" in refused.err
    assert inspect(f"{NAME}-bob")["State"]["Running"]


@pytest.fixture
def strangers(built: None) -> Iterator[str]:
    """A federation's name of which somebody else has a container and a volume already."""
    name = f"{NAME}-other"
    docker("volume", "create", f"{name}-bob-data")
    docker("create", "--name", f"{name}-bob", image("node"))
    yield name
    docker("rm", "-f", f"{name}-bob")
    docker("volume", "rm", f"{name}-bob-data")


def test_what_others_made_survives_and_nothing_of_ours_is_left(
    built: None, folder: Path, strangers: str
) -> None:
    up = finish(start(folder, "up", "--owners", "1", "--name", strangers, "--no-build"))
    assert up.code == 2
    assert f"{strangers}-bob-data that is not this federation's" in up.err
    assert left_of(strangers)  # an `up` that ended early
    # a name that begins with ours, and a container that is called like one of ours
    assert finish(start(folder, "down", "--name", strangers)).code == 0
    assert left_of(strangers) == []
    assert inspect(f"{strangers}-bob")["State"]["Status"] == "created"
    assert docker("volume", "inspect", f"{strangers}-bob-data").code == 0


def test_subnets_are_cut_from_the_range_that_is_given(built: None, folder: Path) -> None:
    name = f"{NAME}-narrow"
    flags = ("--name", name, "--no-build", "--subnets", "10.213.77.0/28", "--owners")
    try:
        up = finish(start(folder, "up", *flags, "3"))
        assert up.code == 2
        assert "10.213.77.0/28 has no free /29 left" in up.err
        pools = [inspect(f"{name}-{owner}")["IPAM"]["Config"][0] for owner in OWNERS[:2]]
        assert [pool["Subnet"] for pool in pools] == ["10.213.77.0/29", "10.213.77.8/29"]
    finally:
        down = finish(start(folder, "down", "--name", name))
    assert down.code == 0, down.err
    assert left_of(name) == []


def test_down_leaves_nothing_and_a_command_then_says_so(federation: Run) -> None:
    assert federation("down").code == 0
    assert left_of(NAME) == []
    gone = federation("ps")
    assert gone.code == 2
    assert f"the federation {NAME} is not up" in gone.err
