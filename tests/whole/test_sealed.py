"""Predictions of two sides who do not trust each other, over TLS between real nodes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.local.nodes import LocalNode
from server.encrypted.sealed import SealedParties, sealed_session
from server.encrypted.sealed_scorer import SealedScorer, low_digits, rows_in_a_go
from shared.errors import PolicyRefused
from shared.model.classifier import initial_state
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, load_recipe
from shared.model.scorer import probabilities, scorer_of
from shared.pysyft import make_hook
from shared.trained_model.saved_model import SavedModel, save
from tests.helpers.identities import Federation, make_federation
from tests.helpers.pointers import write_recipe
from tests.helpers.running import Finished, done_well, refused, run, until
from tests.helpers.sharing import own_name, sealed_nodes, sharing_nodes
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
    check_scores(folder, recipe, state)


def test_the_lines_of_a_session_end_with_it(
    nodes_of_three: list[LocalNode], federation: Federation, recipe: Recipe
) -> None:
    addresses = [node.flag for node in nodes_of_three]
    identity = federation.coordinator("hospital")
    with sealed_session(addresses, "bob", recipe, identity=identity) as opened:
        lines = [one.link for one in opened.workers]
        assert len(lines) == 3
        assert not any(one.loss.done() for one in lines)
    until(lambda: all(one.loss.done() for one in lines), "the lines to end")


def check_scores(folder: Path, recipe: Recipe, state: Any) -> None:
    """Asserts that bob's last scores are those of the plain model."""
    messages = read_messages(folder / "bob.held-out.tsv").messages
    ids = encode_all([one.text for one in messages], recipe.text)
    plain = probabilities(scorer_of(recipe, state).logits(ids))
    newest = max(folder.glob("*.scores.csv"), key=lambda path: path.stat().st_mtime_ns)
    rows = list(csv.DictReader(newest.read_text().splitlines()))[-ROWS:]
    assert [int(one["message"]) for one in rows] == list(range(1, ROWS + 1))
    assert [one["label"] for one in rows] == [("ham", "spam")[one.label] for one in messages]
    assert np.ptp(plain) > 0.01
    assert np.abs([float(one["spam"]) for one in rows] - plain).max() < 0.005


def test_more_messages_than_a_node_takes_at_once_are_scored_in_several_goes(
    parties: SealedParties, recipe: Recipe, folder: Path
) -> None:
    wide = 3 * recipe.model.hidden
    low = low_digits(recipe.text.buckets, wide)
    blocks = recipe.text.buckets // low
    numbers = recipe.text.width * (low + blocks * (wide + 1))
    # enough for what is sent of three messages at once, and not for ten
    most_bytes = 16 * (recipe.text.buckets * wide + 3 * numbers)
    for one in parties.workers:
        greeting = one.link.greeting
        one.link.greeting = greeting.model_copy(update={"most_bytes": most_bytes})
    state: Any = initial_state(recipe, 4) * np.float32(1.5)
    scorer = SealedScorer(recipe, state, parties)
    assert scorer.score(ROWS) is None
    check_scores(folder, recipe, state)
    with pytest.raises(PolicyRefused, match="takes no message of"):
        scorer._score(range(ROWS))


@pytest.mark.parametrize(
    ("most_bytes", "rows"), [(0, 50), (1, 1), (27_199, 6), (27_200, 7), (10**9, 50)]
)
def test_a_go_has_as_many_messages_as_fit_beside_the_table_into_what_a_node_takes(
    most_bytes: int, rows: int
) -> None:
    assert rows_in_a_go(100, 1000, most_bytes) == rows


@pytest.fixture(scope="module")
def model(folder: Path, recipe: Recipe) -> Path:
    (folder / "model").mkdir()
    save(folder / "model", SavedModel(recipe, initial_state(recipe, 3)), {"round": 1})
    return folder / "model"


def predict(model: Path, identity: Path, nodes: list[str], *arguments: object) -> Finished:
    flags = [part for node in nodes for part in ("--node", node)]
    line = ("predict", "--encrypted", "--model", model, "--identity", identity, *flags, *arguments)
    return run("server", *line, cwd=model, seconds=240)


def test_the_command_says_who_has_the_scores_and_shows_none(
    model: Path, nodes_of_three: list[LocalNode], federation: Federation
) -> None:
    identity = federation.coordinator("hospital")
    addresses = [node.flag for node in nodes_of_three]
    done = predict(model, identity, addresses, "--messages-of", "bob", "--most", "3")
    assert done_well(done) == ""
    assert "Node bob has 3 scores, which does not tell them: " in done.err


def test_scores_are_shown_where_their_owner_tells_them(
    model: Path, recipe: Recipe, tmp_path: Path
) -> None:
    federation = make_federation(tmp_path)
    with sealed_nodes(tmp_path, federation, tells=True) as running:
        flags = [node.flag for node in running]
        asked = ("--messages-of", "bob", "--json")
        done = predict(model, federation.coordinator("hospital"), flags, *asked)
    told = [json.loads(line) for line in done_well(done).splitlines()]
    assert [one["message"] for one in told] == list(range(1, ROWS + 1))
    (scores,) = tmp_path.glob("*.scores.csv")
    kept = [float(one["spam"]) for one in csv.DictReader(scores.read_text().splitlines())]
    assert [one["spam"] for one in told] == pytest.approx(kept, abs=0.00051)
    log = (tmp_path / "bob.audit.jsonl").read_text()
    assert "10 of this owner's messages, told" in log


@pytest.mark.parametrize(
    "names", [("anne", "bob"), ("anne", "carol", "bob"), ("anne", "bob", "bob"), ("a", "b", "c")]
)
def test_parties_that_cannot_be_end_with_2_before_anybody_is_dialled(
    model: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    nodes = [f"{name}=wss://127.0.0.1:1" for name in names]
    done = predict(model, tmp_path, nodes, "--messages-of", "bob")
    refused(done, "messages of bob cannot be scored by", code=2)


def test_nodes_without_certificates_end_with_6(model: Path, tmp_path: Path) -> None:
    with sharing_nodes(tmp_path, own_name()) as running:
        flags = [node.flag for node in running]
        done = predict(model, tmp_path, flags, "--messages-of", "bob")
    refused(done, "no certificate", "init --id", code=6)


def test_a_word_opens_few_numbers() -> None:
    low = low_digits(8192, 30)
    assert low == 512
    assert low + 8192 // low * 31 < 8192 // 8
