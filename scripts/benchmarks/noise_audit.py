"""What epsilon guesses prove of the noise itself: the second table of `privacy-audit`.

Canaries are as strong as may be: each pulls one number of the sum, in every round, by all that a
message may, or an owner where that is the unit. The attacker knows all other messages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import click
import numpy as np

from scripts.benchmarks.privacy import Part
from shared.model.recipe import Recipe, load_recipe
from shared.privacy.accountant import mu_of
from shared.privacy.membership import at_least_epsilon, right_guesses
from shared.privacy.private_sum import EXTRA, UNIT, PrivateSum, Scales
from worker_node.data.shard import Message
from worker_node.training.noise import gaussian
from worker_node.training.private_step import Features, as_one_owner, exact_sum, release

CANARIES = 1000
GUESSES = 100
"""Of canaries; fixed before anything is seen. Fewer are surer, and prove less."""


def audit_noises(owners: Sequence[Sequence[Message]], runs: int) -> None:
    """Says what is proved of each recipe with noise.

    Args:
        owners: who share the noise, where it is shared, and the first of them who does not.
    """
    click.echo(
        "\n| unit | noise | epsilon claimed | proved: mean | the most of all | above the claim |"
    )
    click.echo("|---" * 6 + "|")
    for name in ("private", "private-strict", "private-owner"):
        recipe = load_recipe(name)
        parts = [Part.of(rows, recipe) for rows in owners]
        if recipe.privacy.unit == "owner":
            _say(recipe, "all", [audit_owners(recipe, parts, number) for number in range(runs)])
            continue
        for kind, some in (("own", parts[:1]), ("shared", parts)):
            _say(recipe, kind, [audit_noise(recipe, some, number) for number in range(runs)])


def _say(recipe: Recipe, kind: str, found: Sequence[float]) -> None:
    claimed = recipe.privacy.epsilon
    above = sum(one > claimed for one in found)
    click.echo(
        f"| {recipe.privacy.unit} | {kind} | {claimed:g} | {np.mean(found):.2f} "
        f"| {max(found):.2f} | {above} of {len(found)} |"
    )


def multiplier_of(recipe: Recipe) -> float:
    """Standard deviation of each round's noise in all, in sensitivities."""
    privacy = recipe.privacy
    return float(recipe.federation.rounds**0.5 / mu_of(privacy.epsilon, privacy.delta))


def audit_noise(recipe: Recipe, parts: Sequence[Part], number: int) -> float:
    """The epsilon that guesses prove of one run with CANARIES that pull one number each.

    Args:
        parts: rows of owners who share the noise, and whose sum is seen.
    """
    draw = np.random.default_rng([11, number])
    included = draw.random(CANARIES) < 0.5
    buckets = draw.choice(recipe.parameters - 1, CANARIES, replace=False) + 1
    chosen = np.sort(buckets[included])
    ones, spam = np.ones(len(chosen)), np.ones(len(chosen), np.int64)
    canaries = (Features(np.arange(len(chosen)), chosen, ones, ones), spam)
    multiplier = multiplier_of(recipe) / len(parts) ** 0.5
    state, scores = np.zeros(recipe.parameters, np.float32), np.zeros(recipe.parameters)
    for step in range(1, recipe.federation.rounds + 1):
        total = np.zeros(recipe.parameters + EXTRA, np.uint64)
        for place, part in enumerate(parts):
            rows = [(part.features, part.labels), *([canaries] if place == 0 else [])]
            total += release(state, rows, recipe, multiplier)
        known = sum(exact_sum(state, one.features, one.labels, recipe) for one in parts)
        scores -= (total.view(np.int64) - known)[:-EXTRA] / UNIT
        state = PrivateSum.decode(total, recipe).step(state, recipe, step)
    right = right_guesses(included, scores[buckets], GUESSES)
    return at_least_epsilon(right, GUESSES, CANARIES, recipe.privacy.delta)


def audit_owners(recipe: Recipe, parts: Sequence[Part], number: int) -> float:
    """The same of CANARIES that are owners, each with as many messages as reach the bound.

    Who is left out has no messages, and is counted all the same, as in the claim. The noise of all
    is drawn at once.
    """
    draw = np.random.default_rng([12, number])
    included = draw.random(CANARIES) < 0.5
    buckets = draw.choice(recipe.parameters - 1, CANARIES, replace=False) + 1
    needed = math.ceil(recipe.privacy.owner_clip / recipe.privacy.clip) + 1
    deviation = multiplier_of(recipe) * Scales.of(recipe).sensitivity
    nobody = as_one_owner(np.zeros(recipe.parameters + EXTRA, np.int64), 0, recipe)
    state, scores = np.zeros(recipe.parameters, np.float32), np.zeros(recipe.parameters)
    for step in range(1, recipe.federation.rounds + 1):
        known = nobody * int((~included).sum())
        for part in parts:
            numbers = exact_sum(state, part.features, part.labels, recipe)
            known = known + as_one_owner(numbers, len(part.labels), recipe)
        total = known + gaussian(deviation, len(known))
        for bucket in buckets[included]:
            total += as_one_owner(_one_feature(state, int(bucket), needed, recipe), needed, recipe)
        total[1 - EXTRA] = nobody[1 - EXTRA] * (CANARIES + len(parts))
        scores -= (total - known)[:-EXTRA] / UNIT
        state = PrivateSum.decode(total.view(np.uint64), recipe).step(state, recipe, step)
    right = right_guesses(included, scores[buckets], GUESSES)
    return at_least_epsilon(right, GUESSES, CANARIES, recipe.privacy.delta)


def _one_feature(state: np.ndarray, bucket: int, rows: int, recipe: Recipe) -> np.ndarray:
    """What so many spam messages with one feature add up to."""
    ones = np.ones(rows)
    features = Features(np.arange(rows), np.full(rows, bucket), ones, ones)
    return exact_sum(state, features, np.ones(rows, np.int64), recipe)
