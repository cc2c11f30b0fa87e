"""What can be told of messages in a plain, a secure, a private run and both: `privacy-audit`.

Two owners in one process, with the steps of nodes and coordinator (scripts/benchmarks/privacy.py).
1,000 messages of the collection are canaries: each is in somebody's rows or in nobody's by a coin
of its own. Asked are bob's words, from what the coordinator holds of him; whether a message is
bob's or anne's; whether a canary was trained on, by the last model's loss and by the offline
likelihood ratio with shadow models; and what epsilon guesses about canaries prove, by what the
coordinator holds (shared/privacy/membership.py).

What the coordinator holds: in a plain run bob's update of the first round, where a row moves
nothing that it does not have; in a private one the sum of all rounds' numbers of his; with secure
sums those of both owners together.

A second table audits the noise itself (scripts/benchmarks/noise_audit.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
import torch

from scripts.benchmarks.audit_plot import ATTACKS, plot
from scripts.benchmarks.noise_audit import CANARIES, GUESSES, audit_noises, multiplier_of
from scripts.benchmarks.privacy import Part, collection
from scripts.fetch_data import find_data
from server.aggregation.aggregators import FedAvg
from shared.model.classifier import initial_state
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, load_recipe
from shared.model.scorer import scorer_of
from shared.model.vectors import Vector
from shared.privacy.membership import (
    at_least_epsilon,
    found_at,
    margins,
    offline_likelihood,
    right_guesses,
)
from shared.privacy.private_sum import EXTRA, UNIT, PrivateSum
from shared.privacy.reading_updates import Numbers, Rows, Update, words_of
from shared.privacy.recognising import auc
from worker_node.data.shard import Message
from worker_node.training.local_training import train
from worker_node.training.private_step import Features, release

DELTA = 1e-5
KINDS = ("plain", "secure", "private", "both")
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Held:
    """What a run leaves with a coordinator.

    state: the last model. updates: of each owner, or of both together.
    """

    state: Vector
    updates: list[Numbers]


@click.command("privacy-audit")
@click.option("--shadows", type=click.IntRange(2, 64), default=4, show_default=True)
@click.option("--runs", type=click.IntRange(0, 1000), default=20, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=1, show_default=True, help="From --seed on."
)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), default=KINDS)
@click.option(
    "--plot", "picture", type=click.Path(path_type=Path), help="Also as a PNG; takes matplotlib."
)
def privacy_audit(
    shadows: int, runs: int, seed: int, seeds: int, kinds: tuple[str, ...], picture: Path | None
) -> None:
    """Word attack, membership and audited epsilon: plain, secure, private, both.

    Of several seeds figures are means, with 95 % intervals of those (Student's t).
    """
    torch.set_num_threads(1)
    splits = [_Split.of(collection(find_data()), one) for one in range(seed, seed + seeds)]
    click.echo(
        "| run | words: AUC | bob's or anne's: AUC | loss: AUC | likelihood: AUC | found at 1 % "
        "| right of 100 | epsilon is at least | claimed |\n" + "|---" * 9 + "|"
    )
    models: list[dict[str, Numbers]] = [{} for _ in splits]
    areas: dict[str, list[float]] = {}
    for kind in kinds:
        found = np.array(
            [_figures(kind, *one, shadows) for one in zip(splits, models, strict=True)]
        )
        areas[kind] = [float(one) for one in found.mean(axis=0)[: len(ATTACKS)]]
        cells = [_cell(one, digits) for one, digits in zip(found.T, _DIGITS, strict=True)]
        recipe = load_recipe(_RECIPES[kind])
        claimed = f"{recipe.privacy.epsilon:g}" if recipe.is_private else "none"
        click.echo(f"| {' | '.join([kind, *cells, claimed])} |")
    if picture is not None:
        plot(areas, picture)
    if runs:
        audit_noises([splits[0].bob, splits[0].anne], runs)


_DIGITS = (1, 1, 1, 1, 1, 0, 2)


def _cell(found: Numbers, digits: int) -> str:
    """A figure of one seed, or the mean of several and its interval."""
    if len(found) == 1:
        return f"{found[0]:.{digits}f}"
    from scipy import stats

    half = stats.t.ppf(0.975, len(found) - 1) * stats.sem(found)
    return f"{found.mean():.{max(digits, 1)}f} ± {half:.{max(digits, 1)}f}"


@dataclass(frozen=True)
class _Split:
    """bob's and anne's rows, canaries that are in among them; and all canaries, and the rest.

    included: of the canaries, (CANARIES,). rest: messages that are in no run but shadows'.
    """

    bob: list[Message]
    anne: list[Message]
    canaries: list[Message]
    included: npt.NDArray[np.bool_]
    rest: list[Message]

    @classmethod
    def of(cls, messages: Sequence[Message], seed: int) -> _Split:
        draw = np.random.default_rng(seed)
        mixed = [messages[index] for index in draw.permutation(len(messages))]
        canaries, others = mixed[:CANARIES], mixed[CANARIES:]
        included = draw.random(CANARIES) < 0.5
        half = len(others) // 2
        rows = others[:half] + [one for one, is_in in zip(canaries, included, strict=True) if is_in]
        rows = [rows[index] for index in draw.permutation(len(rows))]
        return cls(rows[::2], rows[1::2], canaries, included, others[half:])

    def shadow(self, number: int) -> list[list[Message]]:
        """Two owners' rows without a canary."""
        draw = np.random.default_rng([7, number])
        base = {one.text for one in self.canaries}
        pool = [one for one in (*self.bob, *self.anne, *self.rest) if one.text not in base]
        chosen = draw.permutation(len(pool))[: len(self.bob) + len(self.anne)]
        rows = [pool[index] for index in chosen]
        return [rows[::2], rows[1::2]]


_RECIPES = {"plain": "default", "secure": "default", "private": "private", "both": "private"}


def _figures(
    kind: str, split: _Split, models: dict[str, Numbers], shadows: int
) -> tuple[float, ...]:
    """Of a kind of run: its areas in percent in the order of ATTACKS, and what guesses prove.

    Args:
        models: margins of shadow models by kind, of this split.
    """
    recipe = load_recipe(_RECIPES[kind])
    is_summed = kind in ("secure", "both")
    held = _trained(recipe, [split.bob, split.anne], is_summed, seed=1)
    texts = [one.text for one in split.canaries]
    labels = np.array([one.label for one in split.canaries])
    # a secure run ends with the bytes of a plain one: its shadows are the same
    if kind == "secure" and "plain" in models:
        shadow = models["plain"]
    else:
        trained = (
            _trained(recipe, split.shadow(one), is_summed, seed=100 + one).state
            for one in range(shadows)
        )
        shadow = np.array([_margins(recipe, one, texts, labels) for one in trained])
    models[kind] = shadow
    target = _margins(recipe, held.state, texts, labels)
    ratio, is_in = offline_likelihood(target, shadow), split.included
    seen = _seen(recipe, held.updates, texts, labels)
    right = right_guesses(is_in, seen, GUESSES)
    return (
        100 * _words(recipe, held, split),
        100 * _whose(recipe, held, split),
        100 * auc(target[is_in], target[~is_in]),
        100 * auc(ratio[is_in], ratio[~is_in]),
        100 * found_at(ratio[is_in], ratio[~is_in]),
        right,
        at_least_epsilon(right, GUESSES, CANARIES, DELTA),
    )


def _margins(recipe: Recipe, state: Vector, texts: list[str], labels: Labels) -> Numbers:
    logits = scorer_of(recipe, state).logits(encode_all(texts, recipe.text))
    return margins(logits.astype(np.float64), labels).astype(np.float64)


def _seen(recipe: Recipe, updates: list[Numbers], texts: list[str], labels: Labels) -> Numbers:
    """How much speaks for each message in what the coordinator holds, of whichever owner."""
    rows = Rows.of(texts, recipe)
    found = np.stack([Update(recipe, one).messages(rows, labels) for one in updates])
    return np.asarray(found.max(axis=0))


def _words(recipe: Recipe, held: Held, split: _Split) -> float:
    """Of bob's words against those that only others have, from what is held of him."""
    own = words_of(one.text for one in split.bob)
    others = [*split.anne, *split.canaries, *split.rest]
    not_his = sorted(set(words_of(one.text for one in others)) - set(own))
    update = Update(recipe, held.updates[0])
    both = (update.words(Rows.of_words(words, recipe)) for words in (own, not_his))
    return auc(*both)


def _whose(recipe: Recipe, held: Held, split: _Split) -> float:
    """Of bob's messages against anne's, likewise."""
    first, last = held.updates[0], held.updates[-1]
    found = []
    for messages in (split.bob, split.anne):
        rows = Rows.of([one.text for one in messages], recipe)
        labels = np.array([one.label for one in messages])
        scores = Update(recipe, first).messages(rows, labels)
        # who holds both owners' asks whose it is in more
        if first is not last:
            scores = scores - Update(recipe, last).messages(rows, labels)
        found.append(scores)
    return auc(*found)


def _trained(recipe: Recipe, owners: list[list[Message]], is_summed: bool, seed: int) -> Held:
    encoded = [
        (
            encode_all([one.text for one in rows], recipe.text),
            np.array([one.label for one in rows], np.int64),
        )
        for rows in owners
    ]
    if recipe.is_private:
        parts = [Part(Features.of(ids, recipe), labels) for ids, labels in encoded]
        return _private(recipe, parts, is_summed)
    state = initial_state(recipe, seed)
    updates: list[Numbers] = []
    for number in range(recipe.federation.rounds):
        rule = FedAvg(state)
        results = [
            train(state, ids, labels, recipe, seed=10 * seed + place, round_index=number).state
            for place, (ids, labels) in enumerate(encoded)
        ]
        for place, result in enumerate(results):
            rule.add(str(place), result, len(encoded[place][1]))
        after = rule.finish().state
        if number == 0:
            seen = [after] if is_summed else results
            updates = [one.astype(np.float64) - state for one in seen]
        state = after
    return Held(state, updates)


def _private(recipe: Recipe, parts: list[Part], is_summed: bool) -> Held:
    """Inside secure sums noise is shared; outside each owner adds all of it."""
    multiplier = multiplier_of(recipe) / (len(parts) ** 0.5 if is_summed else 1)
    state = np.zeros(recipe.parameters, np.float32)
    told = np.zeros((len(parts), recipe.parameters))
    for number in range(1, recipe.federation.rounds + 1):
        numbers = [
            release(state, [(one.features, one.labels)], recipe, multiplier) for one in parts
        ]
        told += [one[:-EXTRA].view(np.int64) / UNIT for one in numbers]
        total = sum(numbers, np.zeros(recipe.parameters + EXTRA, np.uint64))
        state = PrivateSum.decode(total, recipe).step(state, recipe, number)
    return Held(state, [told.sum(axis=0)] if is_summed else list(told))
