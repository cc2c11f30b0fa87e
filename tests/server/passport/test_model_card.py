"""What a model card says of privacy is what the run's recipe says."""

from __future__ import annotations

import json

import pytest

from server.passport.model_card import model_card
from shared.model.recipe import load_recipe
from shared.passport.statements import Passport


def card_of(recipe: str) -> str:
    passport = Passport(
        at="2026-11-28T00:00:00Z",
        coordinator=None,
        run="a" * 16,
        folder="run",
        recipe_name=recipe,
        recipe=json.loads(load_recipe(recipe).to_json()),
        recipe_digest="0" * 64,
        model="0" * 64,
        seed=1,
        mode="rounds",
        secure_sums=True,
        own_rule=None,
        rounds=1,
        metrics=None,
        owners={},
        versions={},
        files={},
    )
    return model_card(passport)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("private", "its training has epsilon 8 at delta 1e-05 for each message"),
        ("private-strict", "its training has epsilon 1 at delta 1e-05 for each message"),
        ("private-owner", "its training has epsilon 8 at delta 1e-05 for each owner"),
    ],
)
def test_a_private_runs_card_says_for_whom_its_epsilon_is(recipe: str, said: str) -> None:
    card = card_of(recipe)
    assert said in card
    assert "without differential privacy" not in card


@pytest.mark.parametrize("recipe", ["default", "tutorial"])
def test_the_card_of_another_run_says_that_there_is_none(recipe: str) -> None:
    assert "trained without differential privacy, so that there is no epsilon" in card_of(recipe)
