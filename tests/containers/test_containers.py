"""The images and the compose file on a real engine: from nothing to a model, all confined."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.x509 import load_pem_x509_certificate

from shared.identity.certificates import fingerprint
from tests.helpers.containers import (
    TARGETS,
    Federation,
    address_of_host,
    command,
    compose_tools,
    docker,
    image,
    inspect,
    reached_from,
)
from tests.helpers.messages import marked, messages_found, write_tsv
from tests.helpers.running import PATIENCE_SECONDS, ROOT, environment, until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1200)]

CALLER = (1234, 1235) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
OWNERS = ("bob", "anne")
ROUNDS = 3


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [one.text for one in marked(240)]


@pytest.fixture(scope="module")
def federation(built: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    folder = tmp_path_factory.mktemp("compose")
    settings = {
        "SMS_DATA": str(write_tsv(folder / "messages.tsv", marked(240))),
        "RECIPE": "tutorial",
        "ROUNDS": str(ROUNDS),
        "RUNS_TO_SERVE": "0",
        "PATIENCE": "0",
    }
    name = f"fedsms-tests-{os.getpid()}"
    made = Federation(folder / "clone", name, settings)
    made.prepare(CALLER)
    try:
        yield made
    finally:
        made.clean_up()


@pytest.fixture(scope="module")
def first(federation: Federation) -> Path:
    """The run folder of a first `up`, which ends with the run's exit code, 0."""
    flags = ("up", "--exit-code-from", "coordinator", "coordinator")
    federation.compose(*flags, RUNS_TO_SERVE="1")
    return newest_run(federation)


@pytest.fixture
def standing(federation: Federation, first: Path) -> Federation:
    """Both nodes up and well, on the volumes of the first `up`."""
    federation.serve(*OWNERS)
    return federation


def newest_run(federation: Federation) -> Path:
    return max(path for path in federation.runs.iterdir() if path.is_dir())


@pytest.mark.parametrize("target", ["coordinator", "node"])
def test_an_image_is_small_and_holds_no_installer_and_no_other_side(
    built: None, target: str
) -> None:
    assert inspect(image(target))["Size"] < 1.1e9
    other = {"coordinator": "worker_node", "node": "server"}[target]
    looks = f"""
        id -u
        for name in pip pip3 gcc cc g++ make git curl; do command -v $name; done
        for python in python /usr/bin/python3 /usr/local/bin/python3; do
          $python -c 'import pip' 2>/dev/null && echo $python has pip
        done
        ls -d /fedsms/{other} /fedsms/tests /fedsms/scripts /root/.cache 2>/dev/null
        find / -xdev -writable -type f -not -path '/proc/*' 2>/dev/null
    """
    seen = docker("run", "--rm", "--entrypoint", "sh", image(target), "-c", looks, check=False)
    assert seen.out.split() == ["10001"], seen.out


def test_the_compose_file_is_taken_without_a_word_by_every_compose_here(built: None) -> None:
    for tool in compose_tools():
        done = command((*tool, "config", "-q"), cwd=ROOT, env=environment())
        assert (done.out, done.err) == ("", ""), tool


def test_up_trains_to_the_end_and_the_run_belongs_to_the_caller(
    federation: Federation, first: Path
) -> None:
    summary = json.loads((first / "summary.json").read_text(encoding="utf-8"))
    assert (summary["status"], summary["rounds_completed"]) == ("completed", ROUNDS)
    for path in (first, *first.rglob("*")):
        assert (path.stat().st_uid, path.stat().st_gid) == CALLER, path
    assert (first / "model.safetensors").stat().st_size > 1_000_000
    settings = json.loads((first / "settings.json").read_text(encoding="utf-8"))
    assert all(node["url"].startswith("wss://") for node in settings["nodes"].values())


def test_an_image_of_other_code_than_the_folders_is_told_before_anything_begins(
    federation: Federation, first: Path
) -> None:
    keep = ("run", "--rm", "-T", "--no-deps", "certificates")
    done = federation.compose(*keep)
    assert "kept" in done.out
    assert "other code" not in done.out + done.err
    mine = federation.folder / "shared"
    mine.unlink()
    try:
        shutil.copytree(ROOT / "shared", mine)
        (mine / "quoting.py").write_text("# changed since\n", encoding="utf-8")
        done = federation.compose(*keep)
    finally:
        shutil.rmtree(mine)
        mine.symlink_to(ROOT / "shared")
    assert "kept" in done.out  # and it goes on
    told = "this image holds other code than the folder has now (1 file: shared/quoting.py)"
    assert told in done.out + done.err


def test_a_container_keeps_few_lines_and_takes_the_cores_that_it_was_given(
    federation: Federation, first: Path
) -> None:
    federation.compose("up", "-d", "--no-deps", "bob", CPUS="0.5")
    host = inspect(federation.container("bob"))["HostConfig"]
    assert host["NanoCpus"] == 500_000_000
    assert host["LogConfig"] == {
        "Type": "json-file",
        "Config": {"max-size": "10m", "max-file": "3"},
    }


def test_a_nodes_audit_log_outlives_its_container_and_verifies(
    federation: Federation, first: Path
) -> None:
    federation.compose("rm", "-f", "-s", "bob")
    lines = federation.log("bob")
    trained = [one for one in lines if one["what"] == "train" and one["decision"] == "allowed"]
    assert len(trained) >= ROUNDS
    coordinator = load_pem_x509_certificate(
        federation.read("coordinator-identity", "certificate.pem")
    )
    who = ("coordinator", fingerprint(coordinator))
    assert {(one["who"], one["certificate"]) for one in trained} == {who}
    (verdict,) = federation.log("bob", "--verify")
    assert (verdict["first"], verdict["last"]) == (1, len(lines))
    assert (verdict["signed"], verdict["fault"]) == (True, "")
    counts = json.loads(federation.read("bob-audit", "counts.json"))
    assert counts["rounds"] >= ROUNDS
    at_anne = federation.read("anne-audit", "audit.jsonl").decode().splitlines()
    assert not any("node bob" in line for line in at_anne)


def test_an_owners_policy_is_told_to_the_coordinator_and_written_down(
    standing: Federation,
) -> None:
    (standing.folder / "bob.toml").write_text("[recipe]\nrounds = 2\n")
    standing.serve("bob", BOB_POLICY="./bob.toml")
    refused = standing.ask("train", MIN_NODES="2")
    assert refused.code == 10, refused.err
    rule = "the owner's policy does not allow this (rule recipe.rounds): "
    why = f"{rule}{ROUNDS} rounds were asked for; at most 2 may be"
    assert why in refused.out + refused.err
    newest = standing.log("bob", "--decision", "refused")[-1]
    assert (newest["what"], newest["who"]) == ("propose", "coordinator")
    assert why in newest["detail"]
    allowed = standing.ask("train", MIN_NODES="2", ROUNDS="2")
    assert allowed.code == 0, allowed.err


def test_an_owner_is_handed_the_model_and_asks_it_about_its_own_messages(
    standing: Federation,
) -> None:
    trained = standing.ask("train", HAND_OUT="1")
    assert trained.code == 0, trained.err
    handed_out = json.loads((newest_run(standing) / "handed_out.json").read_text())
    assert (handed_out["owners"], handed_out["left_out"]) == (["anne", "bob"], {})
    (line,) = [one for one in standing.log("bob") if one["what"] == "hand_out"]
    assert line["decision"] == "allowed"
    assert f"model {handed_out['model'][:16]} of run" in line["detail"]
    predict = ("run", "--rm", "-T", "--no-deps", "bob", "predict", "--json")
    everything = standing.compose(*predict, "--own-messages").out.splitlines()
    told = [json.loads(one) for one in everything]
    assert {one["part"] for one in told} == {"train", "held-out"}
    assert {one["own_label"] for one in told} == {"ham", "spam"}
    disagreeing = standing.compose(*predict, "--own").out.splitlines()
    assert sorted(disagreeing) == sorted(
        line for line, one in zip(everything, told, strict=True) if one["label"] != one["own_label"]
    )


def test_two_owners_who_allow_it_have_secure_sums(federation: Federation, first: Path) -> None:
    rules = "[secure_aggregation]\nrequired = true\nfewest_owners = 2\n"
    for owner in OWNERS:
        (federation.folder / f"{owner}-sums.toml").write_text(rules)
    policies = {"BOB_POLICY": "./bob-sums.toml", "ANNE_POLICY": "./anne-sums.toml"}
    federation.serve(*OWNERS, **policies)
    refused = federation.ask("train", ROUNDS="2")
    assert refused.code == 10, refused.err
    assert "rule secure_aggregation.required" in refused.out + refused.err
    summed = federation.ask("train", ROUNDS="2", SECURE_AGGREGATION="on")
    assert summed.code == 0, summed.err
    assert "secure aggregation is on: the coordinator sees sums alone" in summed.out + summed.err
    rows = (newest_run(federation) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    told = [json.loads(row) for row in rows]
    assert [row["rows"] for row in told if row["node"] in OWNERS] == [None] * 4
    masked = json.loads(federation.read("bob-audit", "counts.masked.json"))
    assert sorted(which for _, which, _ in masked) == ["evaluation", "training"]


def test_a_policy_file_that_is_not_there_is_an_error_and_is_not_made(
    federation: Federation, first: Path
) -> None:
    for tool in compose_tools():
        other = Federation(federation.folder, federation.project, federation.settings, tool)
        done = other.compose("up", "-d", "--no-deps", "bob", check=False, BOB_POLICY="./none.toml")
        assert done.code != 0
        assert "none.toml" in done.out + done.err
    assert not (federation.folder / "none.toml").exists()


def test_another_up_keeps_the_messages_and_the_certificates(
    federation: Federation, first: Path
) -> None:
    dealt = {"messages.tsv", "held-out.tsv"}
    kept = [
        *((f"{name}-identity", file) for name in OWNERS for file in ("certificate.pem", "key.pem")),
        *((f"{name}-data", file) for name in OWNERS for file in sorted(dealt)),
        ("coordinator-identity", "certificate.pem"),
        ("coordinator-identity", "key.pem"),
        ("authority", "ca.pem"),
        ("authority", "issued.json"),
    ]
    before = federation.digests(*kept)
    federation.compose("up", "certificates", "data")
    assert federation.digests(*kept) == before
    federation.compose("up", "data", SEED="2")
    dealt_again = federation.digests(*kept)
    changed = [one != other for one, other in zip(before, dealt_again, strict=True)]
    assert changed == [file in dealt for _, file in kept]
    federation.compose("up", "data")
    assert federation.digests(*kept) == before


def test_the_coordinators_container_never_holds_a_message(
    federation: Federation, first: Path, texts: list[str]
) -> None:
    container = federation.container("coordinator")
    assert {one["Destination"] for one in inspect(container)["Mounts"]} == {"/identity", "/runs"}
    assert inspect(container)["HostConfig"]["ReadonlyRootfs"] is True
    added = [line[2:] for line in docker("diff", container).out.splitlines() if line[0] == "A"]
    assert {Path(path).name for path in added} <= {"docker-init"}  # where the engine mounts it
    files = [path.read_bytes() for path in federation.runs.rglob("*") if path.is_file()]
    identity = federation.read("coordinator-identity", "key.pem", "certificate.pem", "ca.pem")
    logs = docker("logs", container)
    assert f"round {ROUNDS}/{ROUNDS}" in logs.out + logs.err  # it is one that has trained
    everything = b"".join([*files, identity, logs.out.encode(), logs.err.encode()])
    assert len(everything) > 1_000_000
    assert messages_found(everything, texts) == []
    at_bob = federation.read("bob-data", "messages.tsv", "held-out.tsv")
    assert len(messages_found(at_bob, texts)) > 200


def test_up_ends_with_the_coordinators_exit_code(federation: Federation, first: Path) -> None:
    flags = ("up", "--exit-code-from", "coordinator", "coordinator")
    done = federation.compose(*flags, check=False, RECIPE="nonsense", RUNS_TO_SERVE="1")
    assert done.code == 2
    assert "there is no recipe 'nonsense'" in done.out + done.err


def test_owners_reach_neither_each_other_nor_the_host_nor_the_internet(
    standing: Federation,
) -> None:
    addresses = {
        owner: inspect(standing.container(owner))["NetworkSettings"]["Networks"][
            standing.network(owner)
        ]["IPAddress"]
        for owner in OWNERS
    }

    own = (addresses["bob"], 8777)
    metadata = "169.254.169.254"  # where a cloud answers who asks for a machine's secrets
    with socket.create_server(("0.0.0.0", 0)) as listener:  # a service of the host
        port = listener.getsockname()[1]
        bridges = {address_of_host("bridge"), address_of_host(standing.network("bob"))}
        others = [
            *((host, port) for host in bridges),
            (addresses["anne"], 8777),
            ("anne", 8777),
            (metadata, 80),
            ("1.1.1.1", 53),
            ("example.org", 80),
        ]
        assert reached_from(standing.container("bob"), [own, *others]) == {own}
    assert standing.ask("status").code == 0


def test_a_service_has_no_more_rights_than_it_needs(standing: Federation) -> None:
    for owner in OWNERS:
        status = standing.python(owner, "print(open('/proc/1/status').read())").out
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert facts["Uid"].split() == ["10001"] * 4
        assert facts["NoNewPrivs"] == "1"
        assert {facts[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
        written = standing.python(owner, "open('/data/x', 'w')")
        assert "Read-only file system" in written.err
        mounts = {
            one["Name"]: one["RW"]
            for one in inspect(standing.container(owner))["Mounts"]
            if "Name" in one
        }
        assert mounts == {
            standing.volume(f"{owner}-data"): False,
            standing.volume(f"{owner}-identity"): False,
            standing.volume(f"{owner}-audit"): True,
        }


@pytest.mark.parametrize("target", TARGETS)
def test_no_program_of_an_image_gives_rights_that_its_caller_has_not(
    built: None, target: str
) -> None:
    found = "find / -xdev -perm /6000 -type f"
    run = ("run", "--rm", "--network=none", "--user=0", "--entrypoint=sh", image(target), "-c")
    assert docker(*run, found).out == ""


def test_what_a_coordinator_is_asked_for_by_hand_works(standing: Federation, first: Path) -> None:
    status = standing.ask("status", "--json")
    assert [one["answers"] for one in json.loads(status.out)] == [True, True]
    spam, ham = standing.ask(
        "predict", "--json", stdin="WIN free prize\nhome late\n"
    ).out.splitlines()
    assert {json.loads(spam)["text"], json.loads(ham)["text"]} == {"WIN free prize", "home late"}
    assert "WIN free" in standing.ask("predict", "WIN free prize claim").out
    rows = {"held_out": sum(json.loads(status.out)[n]["rows"]["held_out"] for n in (0, 1))}
    evaluated = standing.ask("evaluate", "--json")
    assert json.loads(evaluated.out)["all"]["rows"] == rows["held_out"]
    assert "is out" not in evaluated.err


ASKS_ON = f"""
import json, pathlib, time
from worker_node.cli.health import ask_health
busy, idle, until = set(), 0, time.monotonic() + {PATIENCE_SECONDS}
while time.monotonic() < until and (not busy or idle < 100):
    answer = json.loads(ask_health(pathlib.Path('/tmp/health.sock')))
    assert answer['well'], answer
    busy |= {{answer['busy']}} - {{''}}
    idle = 0 if answer['busy'] else idle + 1
print(*busy, sep=chr(10))
"""


def test_asking_for_health_does_not_disturb_a_training(standing: Federation, first: Path) -> None:
    with ThreadPoolExecutor(1) as beside:
        asking = beside.submit(standing.python, "bob", ASKS_ON)
        done = standing.ask("train")
        asked = asking.result()
    assert done.code == 0, done.err
    assert asked.code == 0, asked.err
    assert "training round" in asked.out
    # the same seed and rows: the same weights, to the bit, as when hardly anybody asked
    again = newest_run(standing)
    assert again != first
    assert (again / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()


def test_a_node_that_is_stopped_amid_a_training_ends_in_order_and_writes_it_down(
    standing: Federation, slow: Path
) -> None:
    shutil.copy(slow, standing.runs / "slow.toml")
    with ThreadPoolExecutor(1) as beside:
        training = beside.submit(standing.ask, "train", "--recipe", "runs/slow.toml")
        until(lambda: is_training(standing, "bob"), "bob to train", PATIENCE_SECONDS, 0.5)
        container = standing.container("bob")
        docker("stop", "--time", "60", container)
        assert inspect(container)["State"]["ExitCode"] == 0
        said = docker("logs", container).err
        assert "node bob stops and abandons what it does: training round 1" in said
        *_, trained, stopped = standing.log("bob")
        assert (trained["what"], trained["decision"]) == ("train", "failed")
        assert stopped["what"] == "stop"
        docker("stop", "--time", "60", standing.container("anne"))
        docker("stop", "--time", "60", coordinator_by_hand(standing))
        assert training.result().code == 130


def is_training(federation: Federation, owner: str) -> bool:
    lines = docker("exec", federation.container(owner), *LAST_LINE, check=False).out.splitlines()
    return bool(lines) and json.loads(lines[-1])["decision"] == "began"


LAST_LINE = ("python", "-m", "worker_node", "log", "--json", "--since", "10m")


def coordinator_by_hand(federation: Federation) -> str:
    """The container of a coordinator that `run` made."""
    labels = (f"project={federation.project}", "service=coordinator", "oneoff=True")
    filters = [part for one in labels for part in ("-f", f"label=com.docker.compose.{one}")]
    (found,) = docker("ps", "-q", *filters).out.split()
    return found


def test_a_killed_coordinators_run_goes_on_and_ends_with_the_same_weights(
    standing: Federation, first: Path
) -> None:
    before = set(standing.runs.iterdir())
    with ThreadPoolExecutor(1) as beside:
        training = beside.submit(standing.ask, "train")
        until(
            lambda: any(
                (new / "metrics.jsonl").exists() for new in set(standing.runs.iterdir()) - before
            ),
            "a round",
            PATIENCE_SECONDS,
        )
        run = newest_run(standing)
        docker("kill", coordinator_by_hand(standing))
        assert training.result().code == 137
    assert not (run / "summary.json").exists()
    resumed = standing.ask("train", "--resume", f"runs/{run.name}")
    assert resumed.code == 0, resumed.err
    assert (run / "model.safetensors").read_bytes() == (first / "model.safetensors").read_bytes()


def test_a_killed_node_is_missed_and_comes_back(standing: Federation) -> None:
    docker("kill", standing.container("bob"))
    status = standing.ask("status", "--json")
    assert status.code == 4
    answering = {one["node"]: one["answers"] for one in json.loads(status.out)}
    assert answering == {"bob": False, "anne": True}
    standing.serve("bob")
    assert standing.ask("status").code == 0


@pytest.mark.parametrize("target", TARGETS)
def test_a_change_of_code_leaves_all_heavy_layers_as_they_are(built: None, target: str) -> None:
    layers = inspect(image(target))["RootFS"]["Layers"]
    shared = inspect(image("node"))["RootFS"]["Layers"]
    sizes = [
        int(line)
        for line in docker(
            "history", "--human=false", "--format", "{{.Size}}", image(target)
        ).out.split()
    ]
    newest_first = iter(sizes)
    code = 0
    while (size := next(newest_first)) < 100e6:
        code += size
    assert code < 30e6
    heavy = size
    assert heavy < 600e6  # the packages: 750 MB before scripts/images/slim.py
    common = sum(one == other for one, other in zip(layers, shared, strict=False))
    assert common >= 4
