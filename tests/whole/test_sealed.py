"""Predictions of two sides who do not trust each other, over TLS between real nodes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.local.nodes import LocalNode
from server.encrypted.sealed import SealedParties, sealed_session
from server.encrypted.sealed_scorer import SealedScorer, low_digits
from shared.model.classifier import initial_state
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, load_recipe
from shared.model.scorer import probabilities, scorer_of
from shared.pysyft import make_hook
from tests.helpers.identities import Federation, make_federation
from tests.helpers.pointers import write_recipe
from tests.helpers.sharing import sealed_nodes
from worker_node.data.messages import read_messages

pytestmark = pytest.mark.timeout(280)
ROWS = 10


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return make_federation(tmp_path_factory.mktemp("federation"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sealed")


@pytest.fixture(scope="module")
def nodes_of_three(folder: Path, federation: Federation) -> Iterator[list[LocalNode]]:
    make_hook()
    with sealed_nodes(folder, federation) as running:
        yield running


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    return load_recipe(write_recipe(folder))


@pytest.fixture
def parties(
    nodes_of_three: list[LocalNode], federation: Federation, recipe: Recipe
) -> Iterator[SealedParties]:
    addresses = [node.flag for node in nodes_of_three]
    identity = federation.coordinator("hospital")
    with sealed_session(addresses, "bob", recipe, identity=identity) as opened:
        yield opened


def test_the_owner_learns_the_plain_models_scores_and_the_coordinator_none(
    parties: SealedParties, recipe: Recipe, folder: Path
) -> None:
    state: Any = initial_state(recipe, 3) * np.float32(1.5)
    assert SealedScorer(recipe, state, parties).score(ROWS) is None
    messages = read_messages(folder / "bob.held-out.tsv").messages
    ids = encode_all([one.text for one in messages], recipe.text)
    plain = probabilities(scorer_of(recipe, state).logits(ids))
    (scores,) = folder.glob("*.scores.csv")
    rows = list(csv.DictReader(scores.read_text().splitlines()))
    assert [int(one["message"]) for one in rows] == list(range(1, ROWS + 1))
    assert [one["label"] for one in rows] == [("ham", "spam")[one.label] for one in messages]
    assert np.ptp(plain) > 0.01
    assert np.abs([float(one["spam"]) for one in rows] - plain).max() < 0.005


def test_a_word_opens_few_numbers() -> None:
    low = low_digits(8192, 30)
    assert low == 512
    assert low + 8192 // low * 31 < 8192 // 8
