"""Each rule of the policy at its bound, above and below it, without a node."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from math import inf, nan
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from shared.errors import PolicyRefused
from shared.model.recipe import PrivacyRecipe, Recipe, Unit
from worker_node.guarding.policy import Mode, Policy
from worker_node.guarding.rules.pointers import BITS_A_NUMBER

# As docs/policy.toml explains them: the default, and the least and the most that a rule may say;
# None where it sets no most.
NUMBERS: dict[str, tuple[float, float, float | None]] = {
    "fewest_rows": (0, 0, None),
    "fewest_held_out_rows": (0, 0, None),
    "most_scored_rows": (20_000, 0, None),
    "most_kept_megabytes": (64, 0, None),
    "recipe.parameters": (4_000_000, 1, 16_000_000),
    "recipe.tokens": (1000, 1, 1000),
    "recipe.local_epochs": (100, 1, 100),
    "recipe.batch_size": (4096, 1, 4096),
    "recipe.rounds": (1000, 1, 100_000),
    "recipe.fewest_rows_a_step": (8, 1, 2048),
    "recipe.fewest_rows_mixed": (128, 1, None),
    "recipe.fewest_steps": (1, 1, None),
    "recipe.proximal_mu": (1.0, 0, None),
    "day.rounds": (5000, 0, None),
    "day.evaluations": (5000, 0, None),
    "day.comparisons": (100, 0, None),
    "day.models": (100, 0, None),
    "models.kept": (3, 0, 100),
    "models.megabytes": (16, 1, 1024),
    "pointers.numbers": (100_000, 0, None),
    "pointers.megabytes": (4096, 256, None),
    "pointers.seconds": (30, 1, 3600),
    "shared.megabytes": (1024, 256, None),
    "shared.seconds": (30, 1, 3600),
    "secure_aggregation.fewest_owners": (3, 2, 100),
    "secure_aggregation.fewest_pinned": (0, 0, 0),  # of nobody who is pinned
    "secure_aggregation.dropouts": (0.33, 0, 1),
    "differential_privacy.epsilon": (0.0, 0, 64),
    "differential_privacy.delta": (1e-5, 1e-12, 1e-2),
    "differential_privacy.held_out_epsilon": (4.0, 0, 64),
    "differential_privacy.honest_owners": (0, 0, 99),
    "leak.most_words": (1.0, 0, 1),
    "leak.most_messages": (1.0, 0, 1),
}
SWITCHES = {
    "tell_label_counts": True,
    "countersign": True,
    "models.of_own_runs": True,
    "pointers.gradients": True,
    "shared.tells_scores": False,
    "secure_aggregation.required": False,
    "leak.receipts": True,
}


def said(rule: str, value: Any) -> Policy:
    table, _, key = rule.rpartition(".")
    return Policy.model_validate({table: {key: value}} if table else {key: value})


def read(policy: Policy, rule: str) -> Any:
    value: Any = policy
    for part in rule.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize("rule", NUMBERS)
def test_a_number_of_the_policy_is_taken_at_its_bounds_and_refused_beyond_them(rule: str) -> None:
    default, least, most = NUMBERS[rule]
    assert read(Policy(), rule) == default
    assert read(said(rule, least), rule) == least
    step = 0.001 if isinstance(default, float) else 1
    beyond: list[Any] = [least - step, -1, str(least), nan, inf, -inf]
    if most is None:
        assert read(said(rule, 10**9), rule) == 10**9
    else:
        assert read(said(rule, most), rule) == most
        beyond.append(most + step)
    for value in beyond:
        with pytest.raises(ValidationError):
            said(rule, value)


@pytest.mark.parametrize("rule", SWITCHES)
def test_a_switch_of_the_policy_is_yes_or_no_and_nothing_like_it(rule: str) -> None:
    assert read(Policy(), rule) is SWITCHES[rule]
    assert read(said(rule, not SWITCHES[rule]), rule) is not SWITCHES[rule]
    for value in (0, 1, "true", None):
        with pytest.raises(ValidationError):
            said(rule, value)


def rules_of(table: BaseModel, before: str = "") -> Iterator[tuple[str, Any]]:
    for name in type(table).model_fields:
        value = getattr(table, name)
        if isinstance(value, BaseModel):
            yield from rules_of(value, f"{before}{name}.")
        else:
            yield before + name, value


def test_no_number_and_no_switch_of_the_policy_is_left_out_here() -> None:
    found = {name for name, value in rules_of(Policy()) if isinstance(value, (bool, int, float))}
    assert found == set(NUMBERS) | set(SWITCHES)


@pytest.mark.parametrize("held_out_epsilon", [0.0, 4.0])
@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 8.0])
@pytest.mark.parametrize("is_private", [True, False])
@pytest.mark.parametrize("mode", ["train", "evaluate", "compare", "pointers"])
def test_a_budget_lets_nothing_out_without_noise(
    mode: Mode, is_private: bool, epsilon: float, held_out_epsilon: float
) -> None:
    terms = {"epsilon": epsilon, "held_out_epsilon": held_out_epsilon}
    policy = Policy.model_validate({"differential_privacy": terms})
    assert policy.hides_rows is (epsilon > 0)
    recipe = PrivacyRecipe(epsilon=8.0 if is_private else 0.0)
    refused_by = None
    if epsilon > 0 and (not is_private or mode not in ("train", "evaluate")):
        refused_by = "differential_privacy.epsilon"
    elif epsilon > 0 and mode == "evaluate" and held_out_epsilon == 0:
        refused_by = "differential_privacy.held_out_epsilon"
    if refused_by is None:
        policy.check_private(mode, recipe)
        return
    with pytest.raises(PolicyRefused) as refused:
        policy.check_private(mode, recipe)
    assert refused.value.rule == refused_by


@pytest.mark.parametrize("wanted", ["message", "owner"])
@pytest.mark.parametrize("unit", ["message", "owner"])
@pytest.mark.parametrize("mode", ["train", "evaluate"])
@pytest.mark.parametrize("epsilon", [0.0, 8.0])
def test_who_counts_himself_as_one_refuses_recipes_that_count_messages(
    mode: Mode, unit: Unit, wanted: Unit, epsilon: float
) -> None:
    terms = {"epsilon": epsilon, "unit": wanted}
    policy = Policy.model_validate({"differential_privacy": terms})
    recipe = PrivacyRecipe(epsilon=0.01, unit=unit)  # however small it is
    if epsilon and (wanted, unit) == ("owner", "message"):
        with pytest.raises(PolicyRefused, match="of the recipe is for one message") as refused:
            policy.check_private(mode, recipe)
        assert refused.value.rule == "differential_privacy.unit"
    else:
        policy.check_private(mode, recipe)


def test_fewest_pinned_is_at_most_how_many_are_pinned() -> None:
    def pinned(names: list[str], fewest: int) -> Policy:
        return Policy.model_validate(
            {"secure_aggregation": {"pinned": names, "fewest_pinned": fewest}}
        )

    assert pinned(["bob", "carol"], 2).secure_aggregation.fewest_pinned == 2
    hundred = [f"owner{number}" for number in range(101)]
    assert pinned(hundred, 100).secure_aggregation.fewest_pinned == 100
    for names, fewest in (([], 1), (["bob"], 2), (hundred, 101), (["bob"], -1)):
        with pytest.raises(ValidationError):
            pinned(names, fewest)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("hours.begin", ["00:00", "09:59", "19:00", "23:59"], ["24:01", "9:00", "08:60", "20:00x"]),
        (
            "hours.end",
            ["00:01", "24:00", "23:59"],
            ["24:30", "25:00", " 08:00", "08:00\n"],
        ),
        ("hours.zone", ["local", "Europe/Vienna", "UTC"], ["", "Nowhere/Land", "../etc/passwd"]),
        ("hours.days", [[], ["sat", "sun"]], [["Saturday"], "sat", [1]]),
        ("modes", [[], ["pointers"]], [["predict"], "train"]),
        ("ask", [["first-time-coordinator", "train", "evaluate", "pointers"]], [["never"]]),
        ("coordinators", [["a" * 64], ["A.b_c-9"]], [["a" * 65], [""], [".a"], ["a b"], ["ä"]]),
        ("secure_aggregation.pinned", [["a" * 64]], [["a" * 65], [""], ["-a"], ["a\n"]]),
    ],
)
def test_words_of_the_policy_are_known_ones_or_names(
    rule: str, good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        found = read(said(rule, value), rule)
        assert found == (tuple(value) if isinstance(value, list) else value)
    for value in bad:
        with pytest.raises(ValidationError):
            said(rule, value)


@pytest.mark.parametrize("clock", ["00:00", "12:30"])
def test_hours_that_begin_when_they_end_are_refused(clock: str) -> None:
    with pytest.raises(ValidationError, match="may mean never or always"):
        Policy.model_validate({"hours": {"begin": clock, "end": clock}})


def test_the_clock_is_the_one_of_the_policys_zone() -> None:
    east, west = ({"hours": {"zone": f"Etc/GMT{hours}"}} for hours in ("-14", "+12"))
    times = [Policy.model_validate(zone).hours.now() for zone in (east, west)]
    offsets = [one.utcoffset() for one in times]
    assert [offset and offset.total_seconds() / 3600 for offset in offsets] == [14, -12]
    local = Policy().hours.now()
    assert local.utcoffset() == datetime.now().astimezone().utcoffset()


def test_the_end_of_a_night_is_the_next_days_up_to_its_minute() -> None:
    night = {"hours": {"begin": "22:00", "end": "06:00", "days": ["sun"]}}
    hours = Policy.model_validate(night).hours
    found = {
        when: hours.contain(datetime.fromisoformat(f"2026-11-{when}"))  # the 22nd is a Sunday
        for when in ("22T21:59", "22T22:00", "22T23:59", "23T00:00", "23T05:59", "23T06:00")
    }
    assert list(found.values()) == [False, True, True, True, True, False]
    assert not hours.contain(datetime.fromisoformat("2026-11-23T22:00"))


def recipe(**training: Any) -> Recipe:
    text = {"tokens": 12, "buckets": 512}
    return Recipe.model_validate(
        {"text": text, "model": {"embedding": 8, "hidden": 6}, "training": training}
    )


# by hand: 512 words of 8 numbers; 3 gates of 6 from 8 inputs, 6 states and 2 biases; 6 to one, +1
PARAMETERS = 512 * 8 + 3 * 6 * (8 + 6 + 2) + 6 + 1


@pytest.mark.parametrize(
    ("rule", "value", "training"),
    [
        ("parameters", PARAMETERS, {}),
        ("tokens", 12, {}),
        ("local_epochs", 7, {"local_epochs": 7}),
        ("batch_size", 33, {"batch_size": 33}),
        ("proximal_mu", 0.5, {"proximal_mu": 0.5}),
    ],
)
def test_a_recipe_at_a_bound_is_taken_and_above_it_refused_by_that_rule(
    rule: str, value: float, training: dict[str, Any]
) -> None:
    said(f"recipe.{rule}", value).check_recipe(recipe(**training))
    less = value - (0.1 if isinstance(value, float) else 1)
    with pytest.raises(PolicyRefused) as refused:
        said(f"recipe.{rule}", less).check_recipe(recipe(**training))
    assert refused.value.rule == f"recipe.{rule}"
    assert f"{value:,} " in str(refused.value)
    assert f"at most {less:,}" in str(refused.value)


def test_the_rounds_that_a_coordinator_says_are_bounded_and_not_those_of_the_recipe() -> None:
    policy = said("recipe.rounds", 4)
    policy.check_recipe(recipe(), rounds=4)
    with pytest.raises(PolicyRefused) as refused:
        policy.check_recipe(recipe(), rounds=5)
    assert refused.value.rule == "recipe.rounds"
    policy.check_recipe(recipe())  # of which the recipe has 15


@pytest.mark.parametrize(
    ("training", "rules", "refused_by"),
    [
        # a batch of 15 or 16 has steps of 8 rows at least, one of 14 has 7
        ({"batch_size": 16}, {}, None),
        ({"batch_size": 15}, {}, None),
        ({"batch_size": 14}, {}, "fewest_rows_a_step"),
        ({"batch_size": 14}, {"fewest_rows_a_step": 7}, None),
        # 8 steps of 16 rows are 128; without max_batches every row is gone over
        ({"batch_size": 32, "max_batches": 8}, {}, None),
        ({"batch_size": 32, "max_batches": 7}, {}, "fewest_rows_mixed"),
        ({"batch_size": 32, "max_batches": 0}, {"fewest_rows_mixed": 10**6}, None),
        ({"batch_size": 32, "max_batches": 7}, {"fewest_rows_mixed": 112}, None),
        ({"batch_size": 4096, "max_batches": 1}, {}, None),
        ({"batch_size": 4096, "max_batches": 1}, {"fewest_steps": 2}, "fewest_steps"),
        ({"batch_size": 4096, "max_batches": 2}, {"fewest_steps": 2}, None),
        ({"batch_size": 4096, "max_batches": 0}, {"fewest_steps": 2}, None),
        # of a pull of 0.1 * 2.5 a step the last 4 steps are left, of 16 rows each
        ({"batch_size": 32, "proximal_mu": 2.5}, {"fewest_rows_mixed": 64}, None),
        ({"batch_size": 32, "proximal_mu": 2.5}, {"fewest_rows_mixed": 65}, "fewest_rows_mixed"),
        ({"batch_size": 4096, "proximal_mu": 2.5}, {"fewest_steps": 5}, "fewest_steps"),
        ({"batch_size": 4096, "proximal_mu": 2.5}, {"fewest_steps": 4}, None),
        # the stricter of the two bounds counts
        (
            {"batch_size": 4096, "proximal_mu": 2.5, "max_batches": 3},
            {"fewest_steps": 4},
            "fewest_steps",
        ),
        (
            {"batch_size": 4096, "proximal_mu": 2.5, "max_batches": 9},
            {"fewest_steps": 5},
            "fewest_steps",
        ),
        # a pull that undoes all before leaves one step
        ({"batch_size": 4096, "proximal_mu": 1000.0}, {"fewest_steps": 1}, None),
        ({"batch_size": 4096, "proximal_mu": 1000.0}, {"fewest_steps": 2}, "fewest_steps"),
    ],
)
def test_a_training_that_would_tell_of_few_rows_is_refused_below_the_bound(
    training: dict[str, Any], rules: dict[str, int], refused_by: str | None
) -> None:
    policy = Policy.model_validate({"recipe": rules})
    if refused_by is None:
        policy.check_mixing(recipe(**training).training)
        return
    with pytest.raises(PolicyRefused) as refused:
        policy.check_mixing(recipe(**training).training)
    assert refused.value.rule == f"recipe.{refused_by}"
    least = read(policy, f"recipe.{refused_by}")
    assert f"at least {least:,} must be" in str(refused.value)


@pytest.mark.parametrize(
    ("mode", "train", "held_out", "refused_by"),
    [
        ("train", 10, 0, None),
        ("train", 9, 99, "fewest_rows"),
        ("evaluate", 0, 5, None),
        ("evaluate", 99, 4, "fewest_held_out_rows"),
        ("pointers", 10, 5, None),
        ("pointers", 9, 5, "fewest_rows"),
        ("pointers", 10, 4, "fewest_held_out_rows"),
    ],
)
def test_too_few_rows_are_refused_for_what_they_are_used_for(
    mode: Mode, train: int, held_out: int, refused_by: str | None
) -> None:
    policy = Policy(fewest_rows=10, fewest_held_out_rows=5)
    if refused_by is None:
        policy.check_rows(train, held_out, mode)
        return
    with pytest.raises(PolicyRefused) as refused:
        policy.check_rows(train, held_out, mode)
    assert refused.value.rule == refused_by


def test_secure_sums_are_demanded_where_the_policy_says_so_alone() -> None:
    Policy().check_secure(False)
    required = said("secure_aggregation.required", True)
    required.check_secure(True)
    with pytest.raises(PolicyRefused) as refused:
        required.check_secure(False)
    assert refused.value.rule == "secure_aggregation.required"


def test_a_number_that_is_told_counts_as_what_the_policys_words_say() -> None:
    # 64 bits of value, 4 for its type and 4 for each frame
    assert BITS_A_NUMBER == 68 + 4
