"""Passports and forgetting between processes with certificates, and every way to forge them."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from scripts.local.nodes import NO_SETTINGS, UNGUARDED, LocalNode, local_nodes
from server import Federation
from shared.identity.certificates import certificate_from_pem, key_from_pem
from shared.trained_model.saved_model import load
from tests.conftest import OwnerFiles, write_owner
from tests.helpers import identities
from tests.helpers.identities import make_federation
from tests.helpers.running import done_well, refused, run

pytestmark = pytest.mark.timeout(240)
NAMES = ("anne", "bob", "carol")


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> identities.Federation:
    made = make_federation(tmp_path_factory.mktemp("members"))
    made.coordinator()
    return made


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OwnerFiles]:
    folder = tmp_path_factory.mktemp("rows")
    return {
        name: write_owner(folder, name, 40 + 20 * place, 20, seed=place)
        for place, name in enumerate(NAMES)
    }


@pytest.fixture(scope="module")
def certified(
    members: identities.Federation, rows: dict[str, OwnerFiles]
) -> Iterator[list[LocalNode]]:
    flags = {}
    for name, one in rows.items():
        identity = members.node(name)
        log = ("--audit-log", str(identity / "audit.jsonl"))
        flags[name] = (*one.flags, "--identity", str(identity), *log)
    with local_nodes(flags) as running:
        yield running


@pytest.fixture(scope="module")
def trained(
    certified: list[LocalNode],
    members: identities.Federation,
    quick: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A run of all three with a passport; tests work on copies."""
    folder = tmp_path_factory.mktemp("trained")
    nodes = {node.id: node.url for node in certified}
    federation = Federation(nodes, identity=members.coordinator(), run_dir=folder)
    made = federation.train(quick, secure_aggregation="off")
    federation.passport(made)
    return made.path


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs" / trained.name))


def passport_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "passport.json").read_text())
    return found


def verify(folder: Path, *flags: object) -> Any:
    return run("server", "verify", folder, *flags, cwd=folder)


def proven(folder: Path, members: identities.Federation) -> str:
    return done_well(verify(folder, "--identity", members.coordinator()))


def test_a_passport_is_signed_and_countersigned_and_a_stranger_verifies_it_with_the_ca_alone(
    copy: Path, members: identities.Federation, rows: dict[str, OwnerFiles]
) -> None:
    ca = members.node("anne") / "ca.pem"
    said = done_well(verify(copy, "--ca", ca))
    assert "passport: signed by coordinator coordinator" in said
    for name in NAMES:
        assert f"{name}: countersigned; trained in 2 rounds, and measured the model" in said
    found = passport_of(copy)
    owners = found["passport"]["owners"]
    assert {name: one["rows"]["train"] for name, one in owners.items()} == {
        name: len(one.train) for name, one in rows.items()
    }
    says = owners["bob"]["countersigned"]["says"]
    policy = hashlib.sha256(Path(UNGUARDED).read_bytes()).hexdigest()
    told = (says["policy"], says["rounds"], says["rows"])
    assert told == (f"policy sha256 {policy}", [1, 2], 60)
    lines = (members.node("bob") / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line)["what"] for line in lines].count("countersign") == 1
    anchored = lines[says["audit"]["lines"] - 1]
    assert says["audit"]["hash"] == hashlib.sha256(anchored.encode()).hexdigest()
    card = (copy / "model_card.md").read_text()
    assert "| bob | 60 | 2 |" in card
    assert "epsilon" not in json.dumps(owners)  # of a run without privacy nobody spent any


def test_the_signature_is_one_that_openssl_knows_of_bytes_that_anybody_can_make(
    copy: Path,
) -> None:
    found = passport_of(copy)
    body = json.dumps(found["passport"], sort_keys=True, separators=(",", ":"))
    key = certificate_from_pem(found["signature"]["certificate"].encode()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    signature = base64.b64decode(found["signature"]["signature"])
    key.verify(signature, b"fedsms passport 1\n" + body.encode(), ec.ECDSA(hashes.SHA256()))


# Attacks: each leaves everything else as it was, and is caught


def change_a_metric(folder: Path) -> None:
    found = passport_of(folder)
    found["passport"]["metrics"]["roc_auc"] = 1.0
    (folder / "passport.json").write_text(json.dumps(found))


def leave_an_owner_out(folder: Path) -> None:
    found = passport_of(folder)
    del found["passport"]["owners"]["bob"]
    (folder / "passport.json").write_text(json.dumps(found))


def say_a_key_twice(folder: Path) -> None:
    text = (folder / "passport.json").read_text()
    (folder / "passport.json").write_text(text.replace('"seed": 1', '"seed": 2, "seed": 1', 1))


def change_the_records(folder: Path) -> None:
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text().replace('"round": 2', '"round": 2 ', 1))


def change_the_card(folder: Path) -> None:
    path = folder / "model_card.md"
    path.write_text(path.read_text().replace("| bob | 60 |", "| bob | 60000 |"))


def swap_the_model(folder: Path) -> None:
    """Another model of the same recipe and round, whose file says the same of itself."""
    path = folder / "model.safetensors"
    tensors = safetensors.numpy.load(path.read_bytes())
    name = next(iter(tensors))
    tensors[name] = tensors[name] + np.float32(0.5)
    path.write_bytes(safetensors.numpy.save(tensors, {"round": "2"}))


def take_the_signature_away(folder: Path) -> None:
    found = passport_of(folder)
    found |= {"signature": None, "unsigned": "it was lost"}
    (folder / "passport.json").write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (change_a_metric, "what was signed was changed since"),
        (leave_an_owner_out, "what was signed was changed since"),
        (say_a_key_twice, "a key stands there twice"),
        (change_the_records, "metrics.jsonl is not the file that the passport speaks for"),
        (change_the_card, "model_card.md does not say what the passport says"),
        (swap_the_model, "model.safetensors is not the file that the passport speaks for"),
        (take_the_signature_away, "passport.json is unsigned"),
    ],
)
def test_what_is_changed_by_whoever_holds_no_key_is_not_proven(
    copy: Path, members: identities.Federation, attack: Any, words: str
) -> None:
    assert proven(copy, members)
    attack(copy)
    refused(verify(copy, "--identity", members.coordinator()), words, code=11)


def sign_again(found: dict[str, Any], identity: Path) -> None:
    """As a lying coordinator would, who holds its key."""
    body = json.dumps(found["passport"], sort_keys=True, separators=(",", ":")).encode()
    key = key_from_pem((identity / "key.pem").read_bytes())
    made = key.sign(b"fedsms passport 1\n" + body, ec.ECDSA(hashes.SHA256()))
    pem = (identity / "certificate.pem").read_text()
    found["signature"] = {"certificate": pem, "signature": base64.b64encode(made).decode()}


def in_anothers_name(owners: dict[str, Any], _: dict[str, Any]) -> None:
    owners["bob"]["countersigned"] = owners["anne"]["countersigned"]


def anothers_key_for_bobs_words(owners: dict[str, Any], _: dict[str, Any]) -> None:
    owners["bob"]["countersigned"]["signature"] = owners["anne"]["countersigned"]["signature"]


def of_another_run(owners: dict[str, Any], others: dict[str, Any]) -> None:
    owners["bob"]["countersigned"] = others["bob"]["countersigned"]


def with_more_rows(owners: dict[str, Any], _: dict[str, Any]) -> None:
    owners["bob"]["rows"]["train"] = 60_000


def with_a_better_policy(owners: dict[str, Any], _: dict[str, Any]) -> None:
    owners["bob"]["countersigned"]["says"]["policy"] = "policy sha256 00"


@pytest.mark.parametrize(
    ("forge", "words"),
    [
        (in_anothers_name, "the signature of node bob is another's"),
        (anothers_key_for_bobs_words, "the signature of node bob is another's"),
        (of_another_run, "given for another run"),
        (with_more_rows, "given for another rows"),
        (with_a_better_policy, "the signature of node bob does not fit"),
    ],
)
def test_a_coordinator_that_lies_cannot_make_a_nodes_countersignature(
    copy: Path,
    members: identities.Federation,
    certified: list[LocalNode],
    quick: Path,
    tmp_path: Path,
    forge: Any,
    words: str,
) -> None:
    others: dict[str, Any] = {}
    if forge is of_another_run:  # the same nodes, recipe and seed, and so the same model
        nodes = {node.id: node.url for node in certified}
        federation = Federation(nodes, identity=members.coordinator(), run_dir=tmp_path / "more")
        other = federation.train(quick, secure_aggregation="off")
        federation.passport(other)
        others = passport_of(other.path)["passport"]["owners"]
        assert (
            passport_of(other.path)["passport"]["model"] == passport_of(copy)["passport"]["model"]
        )
    found = passport_of(copy)
    forge(found["passport"]["owners"], others)
    sign_again(found, members.coordinator())
    (copy / "passport.json").write_text(json.dumps(found))
    refused(verify(copy, "--identity", members.coordinator()), words, code=11)


def test_a_passport_of_an_unknown_ca_is_not_proven(copy: Path, tmp_path: Path) -> None:
    other = make_federation(tmp_path / "others")
    refused(verify(copy, "--identity", other.coordinator()), "unknown CA", code=11)
    found = passport_of(copy)
    sign_again(found, other.coordinator())
    (copy / "passport.json").write_text(json.dumps(found))
    ca = other.coordinator() / "ca.pem"
    refused(verify(copy, "--ca", ca), "node anne", "unknown CA", code=11)


def test_a_nodes_key_signs_no_passport(copy: Path, members: identities.Federation) -> None:
    found = passport_of(copy)
    sign_again(found, members.node("anne"))
    (copy / "passport.json").write_text(json.dumps(found))
    words = "the signature of coordinator coordinator is another's"
    refused(verify(copy, "--identity", members.coordinator()), words, code=11)


def test_a_node_does_not_countersign_what_it_did_not_do(
    copy: Path, members: identities.Federation, certified: list[LocalNode]
) -> None:
    """The run folder tells of a round and of rows that bob knows nothing of."""
    metrics, settings = copy / "metrics.jsonl", copy / "settings.json"
    values = json.loads(settings.read_text())
    values["nodes"]["anne"]["rows"]["train"] += 1
    settings.write_text(json.dumps(values))
    records = [json.loads(line) for line in metrics.read_text().splitlines()]
    third = [{**one, "round": 3} for one in records if one["round"] == 2 and one["node"] != "carol"]
    metrics.write_text("".join(json.dumps(one) + "\n" for one in [*records, *third]))
    tensors = safetensors.numpy.load((copy / "model.safetensors").read_bytes())
    (copy / "model.safetensors").write_bytes(safetensors.numpy.save(tensors, {"round": "3"}))
    nodes = {node.id: node.url for node in certified}
    made = Federation(nodes, identity=members.coordinator()).passport(copy)
    owners = made.passport.owners
    assert "another number of rows" in owners["anne"].missing or "round 3" in owners["anne"].missing
    assert "it did not train in round 3" in owners["bob"].missing
    assert owners["carol"].countersigned is not None
    said = done_well(verify(copy, "--identity", members.coordinator()))
    assert "bob: NOT countersigned: " in said


def test_the_owner_can_say_no_and_what_secure_sums_hide_is_not_told_by_a_countersignature(
    members: identities.Federation,
    certified: list[LocalNode],
    rows: dict[str, OwnerFiles],
    quick: Path,
    tmp_path: Path,
) -> None:
    policies = {"bob": "countersign = false\n", "carol": "[secure_aggregation]\nrequired = true\n"}
    flags = {}
    for name, text in policies.items():
        policy = tmp_path / f"{name}.toml"
        policy.write_text(text)
        own = tmp_path / f"{name}.audit.jsonl"
        others = ("--policy", str(policy), "--audit-log", str(own), "--identity")
        flags[name] = (*rows[name].flags, *others, str(members.node(name)))
    with local_nodes(flags) as strict:
        nodes = {node.id: node.url for node in (certified[0], *strict)}
        federation = Federation(nodes, identity=members.coordinator(), run_dir=tmp_path / "runs")
        made = federation.train(quick)
        owners = federation.passport(made).passport.owners
        assert made.settings["secure_sums"] is True
    assert "(rule countersign)" in owners["bob"].missing
    carol = owners["carol"].countersigned
    assert carol is not None
    assert (carol.says.rows, owners["carol"].rows) == (None, {})
    assert owners["carol"].metrics is None
    assert "carol: countersigned" in proven(made.path, members)


def test_an_owner_is_forgotten_and_what_is_left_is_the_model_in_which_it_never_was(
    trained: Path,
    certified: list[LocalNode],
    members: identities.Federation,
    quick: Path,
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    old = Path(shutil.copytree(trained, runs / trained.name))
    before = (old / "model.safetensors").read_bytes()
    flags = ("--identity", members.coordinator(), "--json")
    said = done_well(run("server", "forget", "bob", old, *flags, cwd=tmp_path))
    last = json.loads(said.splitlines()[-1])
    new, forgotten = Path(last["run"]), last["forgotten"]
    assert (old / "model.safetensors").read_bytes() == before
    nodes = {node.id: node.url for node in certified if node.id != "bob"}
    never = Federation(nodes, identity=members.coordinator(), run_dir=tmp_path / "never")
    reference = never.train(quick, secure_aggregation="off")
    assert (new / "model.safetensors").read_bytes() == (
        reference.path / "model.safetensors"
    ).read_bytes()
    apart = load(old).state.astype(float) - load(new).state
    assert forgotten["distance"]["l2"] == pytest.approx(float(np.sqrt((apart**2).sum())))
    assert set(forgotten["metrics"]) == {"anne", "carol", "*"}
    told = reference.rounds[-1].by_owner["anne"].as_dict()
    assert forgotten["metrics"]["anne"]["after"] == told
    held = proven(new, members)
    assert "forgotten: bob, signed by coordinator coordinator" in held
    assert "carol: countersigned" in held

    # the statement speaks of this run alone, and of no other owner
    shutil.copy(new / "forgotten.json", reference.path / "forgotten.json")
    identity = members.coordinator()
    refused(verify(reference.path, "--identity", identity), "it is of another run", code=11)
    path = new / "forgotten.json"
    path.write_text(path.read_text().replace('"bob"', '"dave"'))
    refused(verify(new, "--identity", identity), "changed since", code=11)


def test_two_owners_who_demand_more_for_a_sum_go_on_without_one_where_that_is_asked_for(
    certified: list[LocalNode], members: identities.Federation, quick: Path, tmp_path: Path
) -> None:
    """The old run's sums were secure, and stay so unless somebody says otherwise."""
    nodes = {node.id: node.url for node in certified}
    federation = Federation(nodes, identity=members.coordinator(), run_dir=tmp_path)
    old = federation.train(quick).path
    assert json.loads((old / "settings.json").read_text())["secure_sums"] is True
    flags = ("--identity", members.coordinator())
    done = run("server", "forget", "bob", old, *flags, cwd=tmp_path)
    refused(done, "rule secure_aggregation.fewest_owners", code=10)
    done_well(
        run("server", "forget", "bob", old, *flags, "--secure-aggregation", "off", cwd=tmp_path)
    )
    (new,) = (one.parent for one in tmp_path.glob("*/forgotten.json"))
    assert json.loads((new / "settings.json").read_text())["secure_sums"] is False
    assert "forgotten: bob" in proven(new, members)


def test_who_cannot_be_forgotten_is_a_usage_error(copy: Path) -> None:
    done = run("server", "forget", "dave", copy, cwd=copy)
    refused(done, "dave is not in the run", "anne, bob, carol", code=2)


def test_without_certificates_there_is_no_signature_and_everything_says_so(
    node_flags: list[str], quick: Path, tmp_path: Path
) -> None:
    flags = ("--recipe", quick, "--run-dir", "runs", *NO_SETTINGS)
    done_well(run("server", "train", *flags, *node_flags, cwd=tmp_path))
    (path,) = (tmp_path / "runs").iterdir()
    refused(verify(path), "there is nothing to verify", "server passport", code=7)
    said = done_well(run("server", "passport", path, cwd=tmp_path))
    assert "unsigned: the nodes were reached without TLS" in said
    found = passport_of(path)
    assert found["signature"] is None
    assert found["unsigned"].startswith("the nodes were reached without TLS")
    assert "Signed: no, the nodes were reached without TLS" in (path / "model_card.md").read_text()
    refused(verify(path), "passport.json is unsigned", "without TLS", code=11)
    said = done_well(run("server", "forget", "bob", path, cwd=tmp_path))
    assert "bob is out" in said
    assert "unsigned: the nodes were reached without TLS" in said
