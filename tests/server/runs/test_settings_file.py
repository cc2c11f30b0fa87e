"""What settings.json says of a run and of its nodes, those that are not there yet among them."""

from __future__ import annotations

import platform
from types import SimpleNamespace
from typing import Any

import pytest

from server.nodes.addresses import NodeAddress
from server.runs.settings import RunSettings, from_json
from server.runs.settings_file import resolved
from shared.model.recipe import load_recipe
from shared.version import versions
from shared.wire.handshake import Greeting

NODES = (NodeAddress("bob", "wss://b.example:1"), NodeAddress("anne", "wss://a.example:2"))
BOB = Greeting(
    role="node",
    id="bob",
    rows={"train": 5, "held_out": 2},
    labels={"train": {"ham": 3, "spam": 2}},
    skipped={"ham": 0.5},
    versions={"fedsms": "1"},
)
TOLD = {"rows": {"train": 5, "held_out": 2}, "labels": {"train": {"ham": 3, "spam": 2}}}


def links() -> Any:
    """Bob's alone, as far as it is asked for."""
    return {"bob": SimpleNamespace(certificate="AB:12", greeting=BOB)}


@pytest.fixture(scope="module")
def settings() -> RunSettings:
    return RunSettings(nodes=NODES, recipe=load_recipe("tutorial"), seed=7)


@pytest.mark.parametrize("secure", [True, False])
def test_a_new_run_says_who_is_there_and_who_is_not(settings: RunSettings, secure: bool) -> None:
    said = resolved(settings, links(), "the-run", None, None, secure)
    assert said["run"] == "the-run"
    assert said["own_rule"] is None
    assert said["secure_sums"] is secure
    assert said["resumed_after"] == []
    assert said["rows_at_start"] == {"bob": TOLD}
    assert said["coordinator"] == {"host": platform.node(), "versions": versions()}
    nothing = dict.fromkeys(("certificate", "versions", "rows", "labels", "skipped"))
    assert said["nodes"] == {
        "bob": {
            "url": "wss://b.example:1",
            "dials_in": NODES[0].dials_in,
            "certificate": "AB:12",
            "versions": {"fedsms": "1"},
            **TOLD,
            "skipped": {"ham": 0.5},
        },
        "anne": {"url": "wss://a.example:2", "dials_in": NODES[1].dials_in, **nothing},
    }
    again = from_json(said, nodes=NODES, recipe=settings.recipe)
    assert again == settings
    assert again.seed == 7


def test_a_run_that_goes_on_keeps_what_its_nodes_told_at_first(settings: RunSettings) -> None:
    before = {"anne": {"rows": {"train": 9}}, "bob": {"rows": {"train": 4}}}
    stopped: Any = SimpleNamespace(resumed_after=[1, 3], rows_at_start=before)
    said = resolved(settings, links(), "the-run", stopped, "median of ours", False)
    assert said["resumed_after"] == [1, 3]
    assert said["rows_at_start"] == before
    assert said["own_rule"] == "median of ours"
