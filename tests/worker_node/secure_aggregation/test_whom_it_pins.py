"""Whom a policy pins: other owners, each with a key of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import UsageError
from shared.identity.certificates import key_fingerprint
from shared.identity.folder import read_key
from tests.helpers.identities import make_federation
from worker_node.guarding.policy import Policy
from worker_node.guarding.set_up import Guarding
from worker_node.membership.peers import add_peer
from worker_node.secure_aggregation.set_up import find_sums


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    federation = make_federation(tmp_path_factory.mktemp("pinning"))
    return {name: federation.node(name) for name in ("anne", "bob")}


def pinning(folder: Path, *names: str) -> Guarding:
    terms = {"pinned": list(names), "fewest_pinned": len(names)}
    return Guarding(Policy.model_validate({"secure_aggregation": terms}), identity=folder)


def fingerprint(folder: Path) -> str:
    return key_fingerprint(read_key(folder).public_key())


def test_an_owner_who_pins_himself_has_pinned_nobody(folders: dict[str, Path]) -> None:
    add_peer(folders["bob"], "anne", fingerprint(folders["anne"]))
    add_peer(folders["bob"], "bob", fingerprint(folders["bob"]))
    assert find_sums(pinning(folders["bob"], "anne")) is not None
    with pytest.raises(UsageError, match="this node's own key"):
        find_sums(pinning(folders["bob"], "anne", "bob"))


def test_one_key_under_two_names_is_one_owner(folders: dict[str, Path]) -> None:
    for name in ("carol", "dora"):
        add_peer(folders["bob"], name, fingerprint(folders["anne"]))
    with pytest.raises(UsageError, match="they count as one"):
        find_sums(pinning(folders["bob"], "carol", "dora"))
