"""The unit of a private recipe: what goes together, and what older recipes are still called by."""

from __future__ import annotations

import json

import pytest

from shared.errors import UsageError
from shared.model.recipe import Recipe, load_recipe


def tables(**privacy: object) -> dict[str, object]:
    found = load_recipe("private").model_dump()
    return found | {"privacy": found["privacy"] | privacy}


def test_a_recipe_of_messages_has_the_text_and_so_the_digest_that_it_had() -> None:
    for name in ("private", "private-strict", "default"):
        told = json.loads(load_recipe(name).to_json())["privacy"]
        assert [*told] == ["epsilon", "delta", "held_out_epsilon", "clip", "least_rows"]


def test_a_recipe_of_owners_comes_back_whole() -> None:
    recipe = load_recipe("private-owner")
    assert Recipe.from_json(recipe.to_json()) == recipe
    privacy = recipe.privacy
    assert (privacy.unit, privacy.owner_clip, privacy.epsilon) == ("owner", 0.4, 8.0)
    changed = privacy.model_copy(update={"owner_clip": 4.0})
    assert recipe.model_copy(update={"privacy": changed}).to_json() != recipe.to_json()


@pytest.mark.parametrize(
    ("privacy", "why"),
    [
        ({"owner_clip": 1.0}, 'owner_clip is of unit "owner"'),
        ({"unit": "message", "owner_clip": 1.0}, 'owner_clip is of unit "owner"'),
        ({"unit": "owner", "clip": 0.5, "owner_clip": 0.4}, "owner_clip is at least clip"),
        ({"unit": "owner", "owner_clip": 101}, "less than or equal to 100"),
        ({"unit": "village"}, "'message' or 'owner'"),
    ],
)
def test_what_does_not_go_together_is_named(privacy: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError) as caught:
        Recipe.parse(tables(**privacy), "a file")
    assert why in str(caught.value)
