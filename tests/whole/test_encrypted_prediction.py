"""`python -m server predict --encrypted`: against three nodes, with and without TLS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scripts.local.nodes import LocalNode
from server.pointers import connect_shared
from shared.errors import PolicyRefused
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe, load_recipe
from shared.pysyft import make_hook
from shared.trained_model.saved_model import SavedModel, save
from tests.helpers.identities import Federation, make_federation
from tests.helpers.messages import made_up
from tests.helpers.pointers import write_recipe
from tests.helpers.running import Finished, done_well, refused, run
from tests.helpers.sharing import parties, sharing_nodes

pytestmark = pytest.mark.timeout(280)
LARGEST = 0.005
"""That docs/encrypted.md allows a probability to differ by."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the article's kind, whose scores differ."""
    folder = tmp_path_factory.mktemp("model")
    recipe: Recipe = load_recipe(write_recipe(folder))
    save(folder, SavedModel(recipe, initial_state(recipe, 3) * np.float32(1.5)), {"round": 1})
    return folder


def flags_of(nodes: list[LocalNode]) -> list[str]:
    return [part for node in nodes for part in ("--node", node.flag)]


def predict(model: Path, *arguments: object, stdin: str = "") -> Finished:
    return run(
        "server", "predict", "--model", model, *arguments, cwd=model, stdin=stdin, seconds=240
    )


def scores(done: Finished) -> list[float]:
    return [json.loads(line)["spam"] for line in done_well(done).splitlines()]


def test_scores_of_a_hundred_messages_are_the_plain_models(
    model: Path, sharing_three: list[LocalNode]
) -> None:
    lines = "".join(f"{one.text}\n" for one in made_up(100, seed=9))
    plain = scores(predict(model, "--json", stdin=lines))
    done = predict(model, "--json", "--encrypted", *flags_of(sharing_three), stdin=lines)
    found = scores(done)
    assert len(found) == 100
    assert np.ptp(plain) > 0.02
    assert np.abs(np.subtract(found, plain)).max() < LARGEST
    assert found != plain  # they were computed in another way
    assert "Computed on shares: " in done.err


def test_messages_come_as_arguments_and_in_tables_too(
    model: Path, sharing_three: list[LocalNode]
) -> None:
    flags = ("--encrypted", *flags_of(sharing_three))
    line = done_well(predict(model, *flags, "You have won a prize"))
    assert line.endswith("You have won a prize\n")
    table = "text\nWIN a free prize\n"
    (head, row) = done_well(predict(model, *flags, "--format", "csv", stdin=table)).splitlines()
    assert head == "text,predicted,predicted_score"
    assert row.startswith("WIN a free prize,")


def test_a_prediction_of_nothing_ends_well(model: Path, sharing_three: list[LocalNode]) -> None:
    done = predict(model, "--encrypted", *flags_of(sharing_three))
    assert done_well(done) == ""
    assert "no message to classify" in done.err


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ((), "none given"),
        (("bob=ws://127.0.0.1:1", "anne=ws://127.0.0.1:2"), "bob, anne given"),
        (("bob=ws://127.0.0.1:1", "bob=ws://127.0.0.1:2", "eve=ws://127.0.0.1:3"), "takes three"),
        (("bob", "anne", "carol"), "'bob' does not say where it is"),
    ],
)
def test_other_than_three_nodes_end_with_2(model: Path, nodes: tuple[str, ...], words: str) -> None:
    flags = [part for node in nodes for part in ("--node", node)]
    refused(predict(model, "--encrypted", *flags, "hello"), words, code=2)


def test_nodes_without_encrypted_end_with_2(model: Path) -> None:
    done = predict(model, "--node", "bob=ws://127.0.0.1:1", "hello")
    refused(done, "--node is given", "--encrypted", code=2)


def test_nobody_there_ends_with_4(model: Path) -> None:
    flags = [part for name in "abc" for part in ("--node", f"{name}=ws://127.0.0.1:1")]
    refused(predict(model, "--encrypted", *flags, "hello"), "node a", code=4)


def test_another_model_than_the_articles_ends_with_2(
    tmp_path: Path, sharing_three: list[LocalNode]
) -> None:
    recipe = load_recipe("default")
    save(tmp_path, SavedModel(recipe, initial_state(recipe, 1)), {"round": 1})
    done = predict(tmp_path, "--encrypted", *flags_of(sharing_three), "hello")
    refused(done, "cannot be computed on shares", "--recipe tutorial", code=2)


def test_nodes_whose_owners_do_not_allow_it_end_with_10(
    model: Path, sharing_three: list[LocalNode], nodes: list[LocalNode]
) -> None:
    done = predict(model, "--encrypted", *flags_of([*sharing_three[:2], nodes[1]]), "hello")
    refused(done, "takes three", code=2)  # there are two of the name bob
    done = predict(model, "--encrypted", *flags_of([*nodes, sharing_three[2]]), "hello")
    refused(done, "rule modes", code=10)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return make_federation(tmp_path_factory.mktemp("federation"))


@pytest.fixture(scope="module")
def secured(
    ours: Federation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[LocalNode]]:
    """Nodes with certificates, whose owners lend them to the coordinator `hospital`."""
    folder = tmp_path_factory.mktemp("secured")
    with sharing_nodes(folder, "hospital", federation=ours) as running:
        assert all(node.url.startswith("wss://") for node in running)
        yield running


def test_over_tls_the_coordinator_that_the_policies_name_computes(
    model: Path, ours: Federation, secured: list[LocalNode]
) -> None:
    hospital = ours.coordinator("hospital")
    plain = scores(predict(model, "--json", "call me"))
    flags = ("--encrypted", "--identity", hospital, *flags_of(secured))
    found = scores(predict(model, "--json", *flags, "call me"))
    assert abs(found[0] - plain[0]) < LARGEST


def test_over_tls_a_coordinator_that_no_policy_names_is_refused_whatever_it_calls_itself(
    model: Path, ours: Federation, secured: list[LocalNode]
) -> None:
    clinic = ours.coordinator("clinic")
    flags = ("--encrypted", "--identity", clinic, *flags_of(secured))
    refused(predict(model, *flags, "hello"), "rule shared.coordinators", code=10)
    for node in secured:
        with pytest.raises(PolicyRefused, match=r"rule shared\.coordinators"):
            connect_shared(node.flag, identity=clinic)


def test_a_coordinator_of_another_federation_is_not_let_in(
    model: Path, secured: list[LocalNode], tmp_path: Path
) -> None:
    false = make_federation(tmp_path).coordinator("hospital")
    flags = ("--encrypted", "--identity", false, *flags_of(secured))
    refused(predict(model, *flags, "hello"), "bob", code=5)


def test_pysyfts_sharing_works_over_tls(ours: Federation, secured: list[LocalNode]) -> None:
    make_hook()
    with parties(secured, ours.coordinator("hospital")) as us:
        x: Any = torch.tensor([3, -4])
        shared = x.share(us.bob, us.anne, dtype="long", crypto_provider=us.carol)
        assert (shared * shared).get().tolist() == [9, 16]
        assert (shared >= 0).get().tolist() == [1, 0]
