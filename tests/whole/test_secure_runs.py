"""Runs with secure aggregation as users start them: commands, processes, certificates."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.local.nodes import NO_SETTINGS, LocalNode, local_nodes
from shared.identity.certificates import certificate_from_pem, key_fingerprint
from tests.conftest import write_owner
from tests.helpers.identities import Federation, make_federation
from tests.helpers.running import Finished, done_well, finish, refused, run, start

pytestmark = pytest.mark.timeout(240)
NAMES = ("anne", "bob", "carol")


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    made = make_federation(tmp_path_factory.mktemp("secure"))
    made.coordinator()
    return made


@pytest.fixture(scope="module")
def secured(
    federation: Federation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[LocalNode]]:
    """Three nodes with certificates; bob's numbers leave in secure sums alone."""
    folder = tmp_path_factory.mktemp("secure-shards")
    policy = folder / "bob.toml"
    policy.write_text("[secure_aggregation]\nrequired = true\n", encoding="utf-8")
    flags = {}
    for place, name in enumerate(NAMES):
        owner = write_owner(folder, name, 40 + 20 * place, 20, seed=place)
        identity = federation.node(name)
        log = ("--audit-log", str(identity / "audit.jsonl"))
        more = ("--policy", str(policy), *log) if name == "bob" else ()
        flags[name] = (*owner.flags, "--identity", str(identity), *more)
    with local_nodes(flags) as running:
        yield running


@pytest.fixture
def flags(secured: list[LocalNode], federation: Federation) -> list[str]:
    named = [part for node in secured for part in ("--node", node.flag)]
    return [*NO_SETTINGS, *named, "--identity", str(federation.coordinator())]


def model_of(folder: Path) -> bytes:
    (path,) = (folder / "runs").glob("*/model.safetensors")
    return path.read_bytes()


def train(folder: Path, quick: Path, flags: list[str], *more: object) -> Finished:
    folder.mkdir(exist_ok=True)
    return run("server", "train", "--recipe", quick, "--run-dir", "runs", *flags, *more, cwd=folder)


def test_three_owners_with_certificates_have_it_by_default(
    flags: list[str], quick: Path, tmp_path: Path
) -> None:
    done = train(tmp_path, quick, flags)
    assert "secure aggregation is on: the coordinator sees sums alone" in done_well(done) + done.err
    (path,) = (tmp_path / "runs").iterdir()
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows if row["node"] in NAMES] == [None] * 6
    assert [row["rows"] for row in rows if row["node"] == "*"] == [180, 180]
    settings = json.loads((path / "settings.json").read_text())
    assert settings["secure_sums"] is True
    told = settings["nodes"]["bob"]["rows"], settings["nodes"]["anne"]["rows"]
    assert told == ({}, {"train": 40, "held_out": 20})


def test_the_owners_log_says_what_left_in_sums(
    federation: Federation, flags: list[str], quick: Path, tmp_path: Path
) -> None:
    log = federation.node("bob") / "audit.jsonl"
    before = len(log.read_text(encoding="utf-8").splitlines())
    done_well(train(tmp_path, quick, flags, "--rounds", 1))
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()[before:]]
    told = [(line["what"], line["detail"]) for line in lines if line["decision"] == "allowed"]
    assert ("train", "round 1 of 1, in a secure sum") in told
    assert ("evaluate", "round 1, in a secure sum") in told
    steps = [detail for what, detail in told if what.startswith("sum_")]
    for kind in ("training", "evaluation"):
        for step in ("keys", "share", "receive", "agree", "open"):
            assert f"{step}, {kind} of round 1" in steps


def test_what_joining_was_worth_is_told_of_the_mean_owner_and_of_nobody(
    federation: Federation, flags: list[str], quick: Path, tmp_path: Path
) -> None:
    log = federation.node("bob") / "audit.jsonl"
    before = len(log.read_text(encoding="utf-8").splitlines())
    out = done_well(train(tmp_path, quick, flags, "--compare"))
    assert "mean of owners" in out
    (path,) = (tmp_path / "runs").iterdir()
    first = json.loads((path / "comparison.json").read_text())
    assert (first["secure_aggregation"], first["owners"], first["left_out"]) == (True, {}, {})
    assert first["mean"]["roc_auc"]["owners"] == len(NAMES)
    identity = ("--identity", federation.coordinator())
    later = done_well(run("server", "compare", path, "--json", *identity, cwd=tmp_path))
    assert json.loads(later)["mean"] == first["mean"]
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()[before:]]
    told = [line["detail"] for line in lines if line["what"] == "compare"]
    assert told.count("with 2 rounds alone, in a secure sum") >= 2
    assert "open, comparison of round 1" in [line["detail"] for line in lines]


def test_the_model_of_the_sums_is_handed_out_also_to_an_owner_who_demands_them(
    federation: Federation, flags: list[str], quick: Path, tmp_path: Path
) -> None:
    done_well(train(tmp_path, quick, flags, "--hand-out"))
    (path,) = (tmp_path / "runs").iterdir()
    assert json.loads((path / "settings.json").read_text())["secure_sums"] is True
    handed_out = json.loads((path / "handed_out.json").read_text())
    assert (handed_out["owners"], handed_out["left_out"]) == (list(NAMES), {})
    # beside the counts: in the identity folder, or beside an audit log that was named
    folders = {name: federation.node(name) / "models" for name in ("anne", "carol")}
    folders["bob"] = federation.node("bob") / "audit.models"
    weights = {name: next(folder.glob("*/*.safetensors")) for name, folder in folders.items()}
    for name, folder in folders.items():
        config = json.loads(next(folder.glob("*/config.json")).read_text())
        assert config["model"] == handed_out["model"], name
        assert config["measured_here"], name
        assert config["certificate"], name
    assert len({one.read_bytes() for one in weights.values()}) == 1
    # anne's own command finds it by her identity folder alone
    identity = ("--identity", federation.node("anne"))
    at_home = run("worker_node", "predict", *identity, "win a prize", cwd=tmp_path)
    assert done_well(at_home) == done_well(
        run("server", "predict", "--model", path, "win a prize", cwd=tmp_path)
    )


def test_a_killed_coordinator_goes_on_to_the_model_of_an_undisturbed_run(
    flags: list[str], quick: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    done_well(train(whole, quick, flags, "--rounds", 9))
    killed = tmp_path / "killed"
    killed.mkdir()
    command = ("server", "train", "--recipe", quick, "--run-dir", "runs", "--rounds", 9, "--json")
    process = start(*command, *flags, cwd=killed)
    for round_number in (1, 4):
        _read_to_round(process, round_number)
        process.kill()
        finish(process)
        (path,) = (killed / "runs").iterdir()
        again = ("server", "train", "--resume", path, "--json")
        process = start(*again, *flags, cwd=killed)
    done = finish(process)
    assert done.code == 0, done.err
    assert model_of(killed) == model_of(whole)


def _read_to_round(process: subprocess.Popen[str], wanted: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        row = json.loads(line)
        if row["node"] == "*" and row["round"] >= wanted:
            return
    raise AssertionError(process.stderr and process.stderr.read())


def test_an_owner_who_demands_it_is_left_out_of_anything_else(
    flags: list[str], quick: Path, tmp_path: Path
) -> None:
    done = train(tmp_path, quick, flags, "--secure-aggregation", "off", "--min-nodes", "3")
    refused(done, "rule secure_aggregation.required", code=10)


def test_robust_rules_cannot_be_had_with_it(flags: list[str], quick: Path, tmp_path: Path) -> None:
    done = train(tmp_path, quick, flags, "--secure-aggregation", "--aggregation", "median")
    refused(done, "the aggregation rule median compares owners' results", code=2)


def test_without_certificates_it_is_off_and_says_so(
    node_flags: list[str], quick: Path, tmp_path: Path
) -> None:
    done = train(tmp_path, quick, [*NO_SETTINGS, *node_flags])
    assert "secure aggregation is off: anne, bob are without TLS" in done_well(done) + done.err
    done = train(tmp_path, quick, [*NO_SETTINGS, *node_flags], "--secure-aggregation")
    refused(done, "anne, bob are without TLS", code=2)


def test_a_model_is_evaluated_in_a_sum(flags: list[str], quick: Path, tmp_path: Path) -> None:
    done_well(train(tmp_path, quick, flags))
    told = json.loads(done_well(run("server", "evaluate", "--json", *flags, cwd=tmp_path)))
    assert (told["nodes"], told["all"]["rows"]) == ({}, 60)


def test_peers_are_kept_compared_and_pinned(federation: Federation, tmp_path: Path) -> None:
    folder = federation.node("dora")
    other = certificate_from_pem((federation.node("anne") / "certificate.pem").read_bytes())
    prints = key_fingerprint(other.public_key())

    def peers(*arguments: object) -> Finished:
        return run("worker_node", "peers", "--identity", folder, *arguments, cwd=tmp_path)

    assert "Nobody is kept" in done_well(peers())
    assert prints in done_well(peers("add", "anne", prints.replace(":", "").upper()))
    assert "has the fingerprint" in done_well(
        peers("compare", "anne", federation.node("anne") / "certificate.pem")
    )
    refused(peers("compare", "anne", "00" * 32), "is not the one that is kept", code=8)
    refused(peers("compare", "bob", "00" * 32), "bob is not in", code=2)
    refused(peers("add", "bob", "no print"), "is no fingerprint, and no file", code=2)
    assert f"anne  {prints}" in done_well(peers())
    (folder / "policy.toml").write_text(
        '[secure_aggregation]\npinned = ["anne", "bob"]\nfewest_pinned = 1\n', encoding="utf-8"
    )
    assert "bob  (pinned)  no fingerprint is kept" in done_well(peers())
    rows = write_owner(tmp_path, "dora", 20, 5, seed=9)
    serve = ("serve", "--identity", folder, "--port", 0, *rows.flags)
    refused(run("worker_node", *serve, cwd=tmp_path), "the policy pins bob", code=2)
    done_well(peers("remove", "anne"))
    refused(peers("remove", "anne"), "anne is not in", code=2)
