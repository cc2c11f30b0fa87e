"""Recipes: what is accepted, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.errors import UsageError
from shared.model.classifier import SpamGRU, state_to_vector
from shared.model.recipe import MAX_PARAMETERS, Recipe, load_recipe

EVERYTHING_ON = {
    "text": {"tokens": 9, "buckets": 31, "ngrams": 5, "ngram_buckets": 17},
    "model": {"embedding": 7, "hidden": 3, "directions": 2, "pooling": "max-mean"},
}


@pytest.mark.parametrize("name", ["tutorial", "default"])
def test_a_built_in_recipe_loads_and_survives_the_wire(name: str) -> None:
    recipe = load_recipe(name)
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_the_tutorial_is_the_articles_model_and_training() -> None:
    recipe = load_recipe("tutorial")

    assert (recipe.text.cleaning, recipe.text.tokens, recipe.text.ngrams) == ("letters", 30, 0)
    assert recipe.model.model_dump(exclude={"wide_scale", "block_weights", "bias"}) == {
        "kind": "gru",
        "embedding": 50,
        "hidden": 10,
        "directions": 1,
        "pooling": "last",
        "skip_padding": False,
        "dropout": 0.2,
        "embedding_dropout": 0.0,
    }
    training = recipe.training
    assert (training.optimizer, training.learning_rate, training.clip_norm) == ("sgd", 0.1, 5.0)
    assert (training.batch_size, training.local_epochs, training.schedule) == (32, 1, "constant")
    assert (recipe.federation.rounds, recipe.federation.aggregation) == (15, "fedavg")


def test_the_default_recipe_stays_within_600000_parameters_and_15_rounds() -> None:
    recipe = load_recipe("default")

    assert recipe.parameters <= 600_000
    assert recipe.federation.rounds <= 15


@pytest.mark.parametrize("tables", [{}, EVERYTHING_ON])
def test_parameters_are_counted_without_building_the_model(tables: dict[str, Any]) -> None:
    recipe = Recipe.parse(tables, "here")
    assert recipe.parameters == len(state_to_vector(SpamGRU(recipe)))


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"training": {"learning_rat": 0.1}}, "did you mean 'learning_rate'?"),
        ({"modell": {}}, "did you mean 'model'?"),
        ({"text": {"zzz": 1}}, "known keys: cleaning"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate"),
        ({"model": {"dropout": 1.0}}, "model.dropout"),
        ({"federation": {"rows_bound": 0.5}}, "federation.rows_bound: a bound is 1 or more"),
        ({"federation": {"rows_bound": -1}}, "federation.rows_bound"),
        ({"text": {"tokens": 0}}, "text.tokens"),
        ({"text": {"buckets": 2**22}, "model": {"embedding": 64}}, f"at most {MAX_PARAMETERS:,}"),
        ({"text": {"tokens": 1000}, "training": {"batch_size": 4096}}, "a smaller batch_size"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_key_or_the_limit(
    tables: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        Recipe.parse(tables, "here")
    assert said in str(caught.value)
    assert str(caught.value).startswith("here is not a valid recipe")


def test_every_wrong_key_is_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        Recipe.parse({"training": {"batch": 1}, "model": {"hiden": 2}}, "here")
    assert "'batch_size'" in str(caught.value)
    assert "'hidden'" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"text": 3}'])
def test_a_recipe_from_the_wire_that_is_none_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="the recipe received"):
        Recipe.from_json(text)


def test_a_recipe_may_be_a_file_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nbatch_size = 7\n", encoding="utf-8")

    assert load_recipe(str(path)).training.batch_size == 7


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tutorail", None, "there is no recipe 'tutorail'"),
        ("missing.toml", None, "cannot read the recipe"),
        ("broken.toml", b"[text", "is not TOML"),
        ("latin.toml", b"# \xe9", "is not TOML"),
    ],
)
def test_a_recipe_that_cannot_be_loaded_is_a_usage_error(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    wanted = str(tmp_path / name) if name.endswith(".toml") else name
    with pytest.raises(UsageError, match=said):
        load_recipe(wanted)


def test_a_recipe_is_frozen() -> None:
    recipe = load_recipe("tutorial")
    with pytest.raises(ValueError, match="frozen"):
        setattr(recipe.training, "learning_rate", 1.0)  # noqa: B010 - mypy knows it cannot be
