"""Whose signatures of JSON count, of what, and of when."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.errors import NotProven
from shared.identity.certificates import Name, certificate_from_pem, crl_from_pem
from shared.identity.folder import load
from shared.passport.signing import Signature, Trusted, canonical, parse_json, sign
from shared.passport.statements import Countersigned
from tests.helpers.identities import Federation, make_federation

ANNE = Name("node", "anne")
VALUES = {"b": [1, 2.5, None], "a": {"x": "\u00e9\n", "y": True}}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    made = make_federation(tmp_path_factory.mktemp("members"))
    made.coordinator()
    return made


def trusted(members: Federation, with_crl: bool = True) -> Trusted:
    identity = load(members.node("carol"), "node")
    return Trusted(identity.ca, crl_from_pem(members.authority.crl()) if with_crl else None)


def signed(members: Federation, node: str = "anne") -> Signature:
    return sign("countersignature", VALUES, load(members.node(node), "node"))


def test_one_encoding_for_each_value_whatever_the_order_of_its_keys() -> None:
    assert canonical(VALUES) == b'{"a":{"x":"\\u00e9\\n","y":true},"b":[1,2.5,null]}'
    turned = dict(reversed(VALUES.items()))
    assert canonical(json.loads(json.dumps(turned, indent=3))) == canonical(VALUES)
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical({"a": float("nan")})


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', "[]", "", "[" * 10_000, '{"b": {"c": 1, "c": 1}}']
)
def test_json_that_two_readers_could_read_in_two_ways_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_json(text.encode())


def test_a_signature_counts_for_its_values_its_purpose_and_its_signer(members: Federation) -> None:
    made, now = signed(members), datetime.now(UTC)
    trusted(members).check("countersignature", VALUES, made, ANNE, now)
    wrong: list[tuple[Any, Any, Any, Any]] = [
        ("passport", VALUES, made, ANNE),
        ("forgotten", VALUES, made, ANNE),
        ("countersignature", {**VALUES, "b": []}, made, ANNE),
        ("countersignature", VALUES, made, Name("node", "bob")),
        ("countersignature", VALUES, made, Name("coordinator", "anne")),
        ("countersignature", VALUES, signed(members, "bob"), ANNE),
        ("countersignature", VALUES, made.model_copy(update={"signature": "AAAA"}), ANNE),
        ("countersignature", VALUES, made.model_copy(update={"signature": "?"}), ANNE),
        ("countersignature", VALUES, made.model_copy(update={"certificate": "?"}), ANNE),
    ]
    for purpose, values, signature, signer in wrong:
        with pytest.raises(NotProven):
            trusted(members).check(purpose, values, signature, signer, now)


def test_another_federations_certificate_of_the_same_name_does_not_count(
    members: Federation, tmp_path: Path
) -> None:
    others = signed(make_federation(tmp_path))
    with pytest.raises(NotProven, match="unknown CA"):
        trusted(members).check("countersignature", VALUES, others, ANNE, datetime.now(UTC))


def test_a_signature_holds_for_good_if_its_certificate_was_valid_then(members: Federation) -> None:
    made, now = signed(members), datetime.now(UTC)
    for moment in (now - timedelta(days=30), now + timedelta(days=4000)):
        with pytest.raises(NotProven, match="while its certificate was valid"):
            trusted(members).check("countersignature", VALUES, made, ANNE, moment)
    since, until = now - timedelta(days=90), now - timedelta(days=60)
    over = sign("countersignature", VALUES, load_over(members, since, until))
    then = now - timedelta(days=70)
    trusted(members, with_crl=False).check(
        "countersignature", VALUES, over, Name("node", "old"), then
    )


def load_over(members: Federation, since: datetime, until: datetime) -> Any:
    """An identity whose certificate is over; `load` would refuse it today."""
    identity = load(members.node("old"), "node")
    folder = members.resign(members.node("old"), since, until)
    return replace(
        identity, certificate=certificate_from_pem((folder / "certificate.pem").read_bytes())
    )


def test_whoever_was_revoked_signs_nothing_from_then_on(members: Federation) -> None:
    made, before = signed(members, "bob"), datetime.now(UTC)
    members.authority.revoke("bob")
    bob, later = Name("node", "bob"), datetime.now(UTC) + timedelta(minutes=5)
    with pytest.raises(NotProven, match="after its certificate was revoked"):
        trusted(members).check("countersignature", VALUES, made, bob, later)
    earlier = before - timedelta(minutes=1)
    trusted(members).check("countersignature", VALUES, made, bob, earlier)


def test_a_moment_is_written_in_one_way() -> None:
    values = {
        "node": "bob",
        "coordinator": "c",
        "run": "r",
        "recipe": "0" * 64,
        "model": "0" * 64,
        "rounds": [1],
        "rows": 3,
        "has_measured": True,
        "policy": "default policy",
        "audit": None,
        "versions": {},
    }
    good = Countersigned.model_validate({**values, "at": "2026-11-27T01:18:11Z"})
    assert good.moment == datetime(2026, 11, 27, 1, 18, 11, tzinfo=UTC)
    for at in ("2026-11-27", "2026-11-27T01:18:11+02:00", "never"):
        with pytest.raises(ValueError, match="at"):
            Countersigned.model_validate({**values, "at": at})
