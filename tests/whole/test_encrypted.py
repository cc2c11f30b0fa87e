"""Encrypted prediction: docs/encrypted.md as it stands, and scores against the plain model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.encrypted import EncryptedScorer, Parties
from server.encrypted.scorer import SERIES_ERROR, degree_for
from shared.errors import UsageError
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe, load_recipe
from shared.model.scorer import scorer_of
from shared.pysyft import VirtualWorker, forget_worker, make_hook
from tests.helpers import sharing
from tests.helpers.identities import make_federation
from tests.helpers.page_examples import run_page
from tests.helpers.pointers import write_recipe

pytestmark = pytest.mark.timeout(280)


@pytest.fixture(scope="module")
def three(us: sharing.Parties) -> Parties:
    """The same, as a scorer takes them."""
    return Parties((us.bob, us.anne), us.carol)


def test_every_example_of_the_page_gives_what_it_says(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    federation.coordinator("hospital").rename(tmp_path / "identity")
    with sharing.sealed_nodes(tmp_path, federation) as running:
        run_page("encrypted.md", running, cwd=tmp_path)


@pytest.mark.parametrize("enlarged", [1.0, 1.5])
def test_scores_are_the_plain_models(three: Parties, tmp_path: Path, enlarged: float) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    state = initial_state(recipe, 3) * np.float32(enlarged)
    rows = np.random.default_rng(1).integers(0, 512, (7, 6))
    scorer = EncryptedScorer(recipe, state, three)
    plain = scorer_of(recipe, state).logits(rows)
    assert np.ptp(plain) > 0.05
    assert np.abs(scorer.logits(rows) - plain).max() < 0.02
    assert np.abs(scorer.logits(rows[:1]) - plain[:1]).max() < 0.02  # a model serves many times


def test_a_model_leaves_nothing_behind(three: Parties, tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path))
    before = [one.objects_count_remote() for one in (*three.holders, three.provider)]
    scorer = EncryptedScorer(recipe, initial_state(recipe, 3), three)
    scorer.logits(np.ones((2, 6), np.int64))
    del scorer
    assert [one.objects_count_remote() for one in (*three.holders, three.provider)] == before


def test_pysyfts_own_workers_run_the_same_program(tmp_path: Path) -> None:
    workers: list[Any] = [VirtualWorker(make_hook(), id=f"virtual-{name}") for name in "abc"]
    try:
        recipe = load_recipe(write_recipe(tmp_path))
        state, rows = initial_state(recipe, 3), np.arange(12).reshape(2, 6)
        scorer = EncryptedScorer(recipe, state, Parties((workers[0], workers[1]), workers[2]))
        plain = scorer_of(recipe, state).logits(rows)
        assert np.abs(scorer.logits(rows) - plain).max() < 0.02
    finally:
        for one in workers:
            forget_worker(one)


@pytest.mark.parametrize("name", ["default", "private"])
def test_models_that_are_not_the_articles_are_refused(three: Parties, name: str) -> None:
    recipe = load_recipe(name)
    state = np.zeros(recipe.parameters, np.float32)
    with pytest.raises(UsageError, match="cannot be computed on shares"):
        EncryptedScorer(recipe, state, three)


def test_a_model_of_large_numbers_is_refused(three: Parties, tmp_path: Path) -> None:
    recipe: Recipe = load_recipe(write_recipe(tmp_path))
    state: Any = initial_state(recipe, 3) * np.float32(100)
    with pytest.raises(UsageError, match="numbers are too large"):
        EncryptedScorer(recipe, state, three)


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
@pytest.mark.parametrize("reach", [0.5, 4.0, 11.5])
def test_series_are_as_exact_as_is_said(name: str, reach: float) -> None:
    degree = degree_for(name, reach)
    t = np.linspace(-reach, reach, 1001)
    exact = np.tanh(t) if name == "tanh" else 1 / (1 + np.exp(-t))
    fitted = np.polynomial.Chebyshev.interpolate(
        lambda x: np.tanh(x) if name == "tanh" else 1 / (1 + np.exp(-x)),
        degree - 1,
        [-reach, reach],
    )
    assert np.abs(fitted(t) - exact).max() <= SERIES_ERROR
