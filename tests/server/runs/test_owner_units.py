"""A run whose unit is an owner says where there are too few of them for a good model."""

from __future__ import annotations

import pytest

from server.runs.secure_choice import OWNERS_FOR_A_UNIT, about_owners
from shared.model.recipe import load_recipe

OWNER = load_recipe("private-owner")


@pytest.mark.parametrize(
    ("owners", "is_secure", "said"),
    [
        (OWNERS_FOR_A_UNIT, True, ""),
        (OWNERS_FOR_A_UNIT - 1, True, "of whom there are 29"),
        (3, True, "of whom there are 3"),
        (100, False, "without secure sums each of 100 adds all of it"),
        (1, False, "of whom there are 1"),
    ],
)
def test_too_few_owners_are_told(owners: int, is_secure: bool, said: str) -> None:
    words = about_owners(OWNER, owners, is_secure)
    assert said in words
    assert bool(words) is bool(said)


@pytest.mark.parametrize("name", ["default", "private", "private-strict"])
def test_other_recipes_need_no_such_number(name: str) -> None:
    assert about_owners(load_recipe(name), 1, False) == ""
