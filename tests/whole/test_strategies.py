"""A server optimiser takes the mean of plain results and of secure sums for one and the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.local.nodes import local_nodes
from server import Federation
from tests.conftest import write_owner
from tests.helpers.identities import make_federation

pytestmark = pytest.mark.timeout(240)


def test_a_step_from_secure_sums_has_the_bits_of_one_from_the_owners_own_results(
    quick: Path, tmp_path: Path
) -> None:
    members = make_federation(tmp_path / "members")
    identity, flags = members.coordinator(), {}
    for place, name in enumerate(("anne", "bob", "carol")):
        owner = write_owner(tmp_path, name, 40 + 20 * place, 20, seed=place)
        flags[name] = (*owner.flags, "--identity", str(members.node(name)))
    with local_nodes(flags) as nodes:
        urls = {node.id: node.url for node in nodes}
        federation = Federation(
            urls, identity=identity, run_dir=tmp_path / "runs", server_optimizer="fedyogi", rounds=3
        )
        secure = federation.train(quick, secure_aggregation="on")
        plain = federation.train(quick, secure_aggregation="off")
        fedavg = federation.train(quick, secure_aggregation="off", server_optimizer="none")
    assert secure.settings["secure_sums"] is True
    assert secure.model.state.tobytes() == plain.model.state.tobytes()
    assert plain.model.state.tobytes() != fedavg.model.state.tobytes()
