"""Where scores are kept, whose keys are pinned, and what a node without a certificate has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.errors import IdentityError, StorageError, UsageError
from shared.identity.certificates import key_fingerprint
from shared.identity.folder import read_key
from tests.helpers.identities import make_federation
from worker_node.guarding.policy import Policy
from worker_node.guarding.sealing_terms import SealingTerms, find_sealing
from worker_node.guarding.set_up import Guarding
from worker_node.membership.peers import add_peer


def terms_at(path: Path) -> SealingTerms:
    return SealingTerms(lambda: pytest.fail("nothing is signed here"), {}, path)


def test_scores_are_added_below_one_head(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    before = datetime.now(UTC).replace(microsecond=0)
    terms_at(path).keep("hospital", 1, [0, 1], [0.125, 1.0])
    terms_at(path).keep('a "clinic", and', 7, [1], [0.00004])
    data = path.read_bytes().decode("utf-8")
    head, *lines = data.split("\n")
    assert head == "time,coordinator,message,label,spam"
    assert lines.pop() == ""
    rest = []
    for line in lines:
        time, told = line.split(",", 1)
        assert before <= datetime.fromisoformat(time) <= datetime.now(UTC)
        assert datetime.fromisoformat(time).utcoffset() == timedelta(0)
        assert len(time) == len("2026-01-01T00:00:00+00:00")
        rest.append(told)
    assert rest == [
        "hospital,1,ham,0.1250",
        "hospital,2,spam,1.0000",
        '"a ""clinic"", and",7,spam,0.0000',
    ]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "scores.csv"
    with pytest.raises(StorageError, match=r"cannot write .*scores\.csv") as caught:
        terms_at(path).keep("hospital", 1, [1], [0.5])
    assert caught.value.next_step == "Make room there."


def test_as_many_scores_as_labels_are_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        terms_at(tmp_path / "scores.csv").keep("hospital", 1, [1], [0.5, 0.5])


def guarding(folder: Path | None, counts: Path | None = None, **shared: Any) -> Guarding:
    return Guarding(Policy.model_validate({"shared": shared}), identity=folder, counts=counts)


@pytest.fixture
def bob(tmp_path: Path) -> Path:
    federation = make_federation(tmp_path)
    folder = federation.node("bob")
    for name in ("anne", "carol"):
        key = read_key(federation.node(name)).public_key()
        add_peer(folder, name, key_fingerprint(key))
    return folder


def found(wanted: Guarding) -> SealingTerms:
    terms = find_sealing(wanted)
    assert terms is not None
    return terms


def test_keys_are_of_those_whom_the_owner_shares_with(bob: Path) -> None:
    anne = key_fingerprint(read_key(bob.with_name("node-anne")).public_key())
    assert found(guarding(bob, messages_with=["anne"])).pinned == {"anne": anne}
    assert set(found(guarding(bob, messages_with=["carol", "anne"])).pinned) == {"anne", "carol"}
    assert found(guarding(bob)).pinned == {}
    with pytest.raises(UsageError, match=r"pins dora.*") as caught:
        find_sealing(guarding(bob, messages_with=["anne", "dora"]))
    assert "rule shared.messages_with" in caught.value.cause


def test_scores_lie_beside_the_counts_of_the_day(bob: Path, tmp_path: Path) -> None:
    terms = found(guarding(bob, tmp_path / "state" / "bob.counts.json"))
    assert terms.scores == tmp_path / "state" / "bob.counts.scores.csv"
    assert found(guarding(bob)).scores is None


def test_without_a_certificate_there_is_nothing_and_with_one_it_is_read_each_time(
    bob: Path,
) -> None:
    assert find_sealing(guarding(None)) is None
    terms = found(guarding(bob))
    first = terms.signer()
    assert (first.id, first.key.public_key()) == ("bob", read_key(bob).public_key())
    (bob / "certificate.pem").unlink()
    with pytest.raises(IdentityError):
        terms.signer()
