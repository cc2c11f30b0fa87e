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

A second table audits the noise itself: canaries that each pull one number of the sum by all that a
message may, told from what the sum is without them by an attacker who knows every other message.
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
from scripts.benchmarks.privacy import Part, collection
from scripts.fetch_data import find_data
from server.aggregation.aggregators import FedAvg
from shared.model.classifier import initial_state
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, load_recipe
from shared.model.scorer import scorer_of
from shared.model.vectors import Vector
from shared.privacy.accountant import mu_of
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
from worker_node.training.private_step import Features, exact_sum, release

CANARIES = 1000
GUESSES = 100
"""Of canaries; fixed before anything is seen. Fewer are surer, and prove less."""
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
@click.option("--runs", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), default=KINDS)
@click.option(
    "--plot", "picture", type=click.Path(path_type=Path), help="Also as a PNG; takes matplotlib."
)
def privacy_audit(
    shadows: int, runs: int, seed: int, kinds: tuple[str, ...], picture: Path | None
) -> None:
    """Word attack, membership and audited epsilon: plain, secure, private, both."""
    torch.set_num_threads(1)
    split = _Split.of(collection(find_data()), seed)
    click.echo(
        "| run | words: AUC | bob's or anne's: AUC | loss: AUC | likelihood: AUC | found at 1 % "
        "| right of 100 | epsilon is at least | claimed |\n" + "|---" * 9 + "|"
    )
    models: dict[str, tuple[Recipe, Vector, Numbers]] = {}
    areas: dict[str, list[float]] = {}
    for kind in kinds:
        cells = _cells(kind, split, shadows, models)
        areas[kind] = [float(cell) for cell in cells[1 : 1 + len(ATTACKS)]]
        click.echo(f"| {' | '.join(cells)} |")
    if picture is not None:
        plot(areas, picture)
    click.echo("\n| noise | epsilon claimed | proved: mean | the most of all | above the claim |")
    click.echo("|---" * 5 + "|")
    for name in ("private", "private-strict"):
        recipe = load_recipe(name)
        for shared in (False, True):
            owners = [split.bob, split.anne] if shared else [split.bob]
            parts = [Part.of(rows, recipe) for rows in owners]
            found = [audit_noise(recipe, parts, number) for number in range(runs)]
            above = sum(one > recipe.privacy.epsilon for one in found)
            click.echo(
                f"| {'shared' if shared else 'own'} | {recipe.privacy.epsilon:g} "
                f"| {np.mean(found):.2f} | {max(found):.2f} | {above} of {runs} |"
            )


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


def _cells(
    kind: str,
    split: _Split,
    shadows: int,
    models: dict[str, tuple[Recipe, Vector, Numbers]],
) -> list[str]:
    """Of a kind of run: its name, its areas in the order of ATTACKS, and what guesses prove."""
    recipe = load_recipe("private" if kind in ("private", "both") else "default")
    is_summed = kind in ("secure", "both")
    held = _trained(recipe, [split.bob, split.anne], is_summed, seed=1)
    texts = [one.text for one in split.canaries]
    labels = np.array([one.label for one in split.canaries])
    # a secure run ends with the bytes of a plain one: its shadows are the same
    if kind == "secure" and "plain" in models:
        shadow = models["plain"][2]
    else:
        trained = (
            _trained(recipe, split.shadow(one), is_summed, seed=100 + one).state
            for one in range(shadows)
        )
        shadow = np.array([_margins(recipe, one, texts, labels) for one in trained])
    models[kind] = (recipe, held.state, shadow)
    target = _margins(recipe, held.state, texts, labels)
    ratio, is_in = offline_likelihood(target, shadow), split.included
    seen = _seen(recipe, held.updates, texts, labels)
    right = right_guesses(is_in, seen, GUESSES)
    return [
        kind,
        f"{100 * _words(recipe, held, split):.1f}",
        f"{100 * _whose(recipe, held, split):.1f}",
        f"{100 * auc(target[is_in], target[~is_in]):.1f}",
        f"{100 * auc(ratio[is_in], ratio[~is_in]):.1f}",
        f"{100 * found_at(ratio[is_in], ratio[~is_in]):.1f}",
        str(right),
        f"{at_least_epsilon(right, GUESSES, CANARIES, DELTA):.2f}",
        f"{recipe.privacy.epsilon:g}" if recipe.is_private else "none",
    ]


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
    multiplier = _multiplier(recipe) / (len(parts) ** 0.5 if is_summed else 1)
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


def _multiplier(recipe: Recipe) -> float:
    privacy = recipe.privacy
    return float(recipe.federation.rounds**0.5 / mu_of(privacy.epsilon, privacy.delta))


def audit_noise(recipe: Recipe, parts: list[Part], number: int) -> float:
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
    multiplier = _multiplier(recipe) / len(parts) ** 0.5
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
