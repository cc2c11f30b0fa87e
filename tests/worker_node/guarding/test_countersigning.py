"""What a node's countersignature says, and whose it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.errors import NodeFailed, NotProven
from shared.identity.certificates import Name, certificate_from_pem
from shared.identity.folder import load
from shared.passport.signing import Trusted
from shared.version import versions
from shared.wire.commands import CountersignCommand
from tests.helpers.identities import Federation, make_federation
from worker_node.audit.lines import Place
from worker_node.guarding.countersigning import Countersigning
from worker_node.guarding.participation import Participation

RECIPE, MODEL = "ab" * 32, "cd" * 32


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    made = make_federation(tmp_path_factory.mktemp("federation"))
    made.node("bob")
    return made


def told(**changed: Any) -> CountersignCommand:
    values = {"run": "r1", "recipe": RECIPE, "model": MODEL, "rounds": [3, 1, 3], "rows": 60}
    return CountersignCommand.model_validate({**values, **changed})


def took_part() -> Participation:
    kept = Participation()
    for number in (1, 2, 3):
        kept.trains("hospital", "r1", RECIPE, number, 60)
    return kept


def countersigning(federation: Federation, **more: Any) -> Countersigning:
    folder = federation.node("bob")
    return Countersigning(took_part(), lambda: load(folder, "node"), **more)


def test_it_says_just_what_the_node_was_told_and_knows_to_be_so(federation: Federation) -> None:
    ours = countersigning(federation, policy="policy abc", place=lambda: Place(7, "ef" * 32))
    before = datetime.now(UTC).replace(microsecond=0)
    says = ours.sign("hospital", told()).says.model_dump()
    at = datetime.strptime(says.pop("at"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert before <= at <= datetime.now(UTC)
    assert says == {
        "node": "bob",
        "coordinator": "hospital",
        "run": "r1",
        "recipe": RECIPE,
        "model": MODEL,
        "rounds": [1, 3],
        "rows": 60,
        "has_measured": False,
        "policy": "policy abc",
        "audit": {"lines": 7, "hash": "ef" * 32},
        "versions": versions(),
    }
    ours.participation.measures("hospital", MODEL)
    assert ours.sign("hospital", told(rows=None)).says.has_measured
    assert ours.sign("hospital", told(rows=None)).says.rows is None
    assert not ours.sign("hospital", told(model="01" * 32)).says.has_measured


def test_without_a_policy_and_a_log_it_says_so(federation: Federation) -> None:
    says = countersigning(federation).sign("hospital", told()).says
    assert says.audit is None
    assert says.policy == "default policy"


def test_it_is_the_nodes_signature_of_just_this(federation: Federation) -> None:
    made = countersigning(federation).sign("hospital", told())
    ca = certificate_from_pem((federation.node("bob") / "ca.pem").read_bytes())
    trusted, whose, now = Trusted(ca), Name("node", "bob"), datetime.now(UTC)
    values = made.says.model_dump()
    trusted.check("countersignature", values, made.signature, whose, now)
    for purpose, changed, who, at in (
        ("passport", values, whose, now),
        ("countersignature", {**values, "rows": 61}, whose, now),
        ("countersignature", values, Name("node", "anne"), now),
        ("countersignature", values, whose, now + timedelta(days=4000)),
    ):
        with pytest.raises(NotProven):
            trusted.check(purpose, changed, made.signature, who, at)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("coordinator", "changed"),
    [("clinic", {}), ("hospital", {"rounds": [4]}), ("hospital", {"rows": 61})],
)
def test_what_is_not_so_is_not_signed(
    federation: Federation, coordinator: str, changed: dict[str, Any]
) -> None:
    with pytest.raises(NodeFailed, match="does not countersign"):
        countersigning(federation).sign(coordinator, told(**changed))


def test_a_node_without_a_key_signs_nothing_and_took_part_in_nothing() -> None:
    ours = Countersigning()
    with pytest.raises(NodeFailed, match="no key to sign with"):
        ours.sign("hospital", told())
    with pytest.raises(NodeFailed, match="no such run"):
        ours.participation.check("hospital", told())


def test_the_certificate_is_read_anew_each_time(federation: Federation, tmp_path: Path) -> None:
    read: list[Path] = []

    def identity() -> Any:
        read.append(federation.node("bob"))
        return load(read[-1], "node")

    ours = Countersigning(took_part(), identity)
    assert read == []
    ours.sign("hospital", told())
    ours.sign("hospital", told())
    assert len(read) == 2
