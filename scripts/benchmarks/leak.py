"""What a coordinator can tell of an owner's messages: `scripts/benchmark.py leak`.

One real round over TLS, plain and with secure aggregation, and then what the coordinator holds is
read: in a plain round bob's own update; in a secure one bob's masked vector, and the sum. Asked is
which words, and pairs of neighbouring words, bob's messages have, of all that the collection has;
whether a message is bob's or another owner's; and whether it is bob's or nobody's. A feature that
no message has does not move, so the score of a word is how far the feature of it moved that moved
least, of those that it has whatever stands around it.

ROC AUC in %: 50 is guessing.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
import numpy.typing as npt

from scripts.fetch_data import find_data
from scripts.local.identities import make_identities
from scripts.local.many_nodes import Served, nodes_of, read_shard
from scripts.split_data import owner_names, split_data
from server.aggregation.aggregators import FedAvg
from server.nodes.addresses import NodeAddress
from server.nodes.dial import dial
from server.nodes.members import Members
from server.rounds.coordinator import Coordinator
from server.rounds.plan import Plan, new_run_id
from server.rounds.secure_sums import NoRosters
from server.runs.secure_choice import secure_from
from server.secure_aggregation.aggregation import Aggregation
from shared.model.classifier import initial_state
from shared.model.recipe import Recipe, load_recipe
from shared.model.text import encode
from shared.model.vectors import Vector
from shared.privacy.recognising import auc
from shared.secure_aggregation.messages import Masked
from shared.wire.timeouts import Timeouts
from worker_node.data.shard import Shard
from worker_node.guarding.policy import Policy

SEED = 1
OF_TWO = Policy.model_validate({"secure_aggregation": {"fewest_owners": 2}})
Numbers = npt.NDArray[np.float64]


@click.command()
@click.option("--owners", "counts", multiple=True, type=int, default=(2, 3, 10), show_default=True)
@click.option("--recipe", "recipes", multiple=True, default=("default", "tutorial"))
def leak(counts: tuple[int, ...], recipes: tuple[str, ...]) -> None:
    """An owner's words and messages, from what the coordinator holds after a round."""
    click.echo(
        "| recipe, owners | the coordinator reads | words: AUC | precision / recall | pairs: AUC "
        "| bob's or another's: AUC | bob's or nobody's: AUC |"
    )
    click.echo("|---" * 7 + "|")
    for name in recipes:
        for count in counts:
            _say(name, count, *_held(load_recipe(name), count))


@dataclass(frozen=True)
class Held:
    """What a coordinator holds of bob: updates (P,) by what they are."""

    recipe: Recipe
    updates: Mapping[str, Vector]


def _held(recipe: Recipe, count: int) -> tuple[Held, dict[str, Shard]]:
    names = owner_names(count)
    with tempfile.TemporaryDirectory(prefix="fedsms-") as scratch:
        folder = Path(scratch)
        split_data(find_data(), folder / "shards", names, partition="iid", seed=SEED)
        shards = {name: read_shard(folder / "shards", name) for name in names}
        coordinator = make_identities(folder, names)
        identities = {name: folder / name for name in names}
        return asyncio.run(_rounds(recipe, shards, identities, coordinator)), shards


async def _rounds(
    recipe: Recipe, shards: dict[str, Shard], identities: dict[str, Path], coordinator: Path
) -> Held:
    base, seen = initial_state(recipe, SEED), _Seen()
    async with nodes_of(shards, identities, dict.fromkeys(shards, OF_TWO)) as served:
        await _round(recipe, served, coordinator, base, seen, is_secure=False)
        with seen.watching():
            total = await _round(recipe, served, coordinator, base, seen, is_secure=True)
    plain, masked = seen.states["bob"], seen.masked["bob"]
    numbers = np.frombuffer(masked.numbers, "<i8")[: recipe.parameters]
    rows = len(shards["bob"].train)
    as_read = (numbers * 2.0**-36 / rows).astype(np.float32)
    updates = {"bob's update": plain, "bob's masked vector": as_read, "the sum": total}
    return Held(recipe, {what: state - base for what, state in updates.items()})


async def _round(
    recipe: Recipe,
    served: Mapping[str, Served],
    coordinator: Path,
    base: Vector,
    seen: _Seen,
    *,
    is_secure: bool,
) -> Vector:
    """One round; the state that it leaves."""
    addresses = [NodeAddress(name, one.url) for name, one in served.items()]
    timeouts = Timeouts()
    connects = {one.id: partial(dial, one, coordinator, timeouts) for one in addresses}
    members = Members(connects, timeouts)
    one_round = recipe.model_copy(
        update={"federation": recipe.federation.model_copy(update={"rounds": 1})}
    )
    plan = Plan(seed=SEED, run=new_run_id())
    secure = secure_from(coordinator, NoRosters()) if is_secure else None
    try:
        await members.start(None)
        leading = Coordinator(members, one_round, plan, (), seen.rule, secure)
        return await leading.run(base)
    finally:
        await members.close()


class _Seen:
    """What passes by the coordinator: each owner's state, or its masked vector."""

    def __init__(self) -> None:
        self.states: dict[str, Vector] = {}
        self.masked: dict[str, Masked] = {}

    def rule(self, base: Vector) -> FedAvg:
        """FedAvg that looks at what it is given, as any coordinator can."""
        seen = self.states

        class Looking(FedAvg):
            def add(self, node: str, state: Vector, rows: int) -> None:
                seen[node] = state.copy()
                super().add(node, state, rows)

        return Looking(base)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Looks at masked vectors of trainings as they come."""
        take = Aggregation.take_masked

        def look(total: Aggregation, node: str, data: bytes) -> None:
            if total.context.sum == "training":
                self.masked[node] = Masked.unpack(data, total.max_masked_bytes)
            take(total, node, data)

        with patch.object(Aggregation, "take_masked", look):
            yield


def _say(name: str, count: int, held: Held, shards: Mapping[str, Shard]) -> None:
    """A row for each thing that the coordinator holds."""
    asked = _Asked.of(shards)
    for what, update in held.updates.items():
        moved = _Moved(held.recipe, update)
        words, pairs = moved.least_of(asked.words), moved.least_of(asked.pairs)
        own, others = moved.share_of(asked.own), moved.share_of(asked.others)
        nobodys = moved.share_of(asked.nobodys)
        found, there = words > 0, asked.word_is_there
        hits = int((found & there).sum())
        cells = [
            f"`{name}`, {count}",
            what,
            f"{100 * auc(words[there], words[~there]):.1f}",
            f"{100 * hits / max(1, int(found.sum())):.1f} / {100 * hits / int(there.sum()):.1f}",
            f"{100 * auc(pairs[asked.pair_is_there], pairs[~asked.pair_is_there]):.1f}",
            f"{100 * auc(own, others):.1f}",
            f"{100 * auc(own, nobodys):.1f}",
        ]
        click.echo(f"| {' | '.join(cells)} |")


@dataclass(frozen=True)
class _Asked:
    """Texts that the coordinator asks about, and the truth.

    words, pairs: of the whole collection. own: bob's training messages; others: other owners';
    nobodys: held-out ones.
    """

    words: list[str]
    word_is_there: npt.NDArray[np.bool_]
    pairs: list[str]
    pair_is_there: npt.NDArray[np.bool_]
    own: list[str]
    others: list[str]
    nobodys: list[str]

    @classmethod
    def of(cls, shards: Mapping[str, Shard]) -> _Asked:
        own = [row.text for row in shards["bob"].train]
        others = [row.text for name, one in shards.items() if name != "bob" for row in one.train]
        nobodys = [row.text for one in shards.values() for row in one.held_out]
        everything = [*own, *others, *nobodys]
        words, pairs = _words(everything), _pairs(everything)
        own_words, own_pairs = set(_words(own)), set(_pairs(own))
        return cls(
            words,
            np.array([word in own_words for word in words]),
            pairs,
            np.array([pair in own_pairs for pair in pairs]),
            own,
            others,
            nobodys,
        )


def _words(texts: Iterable[str]) -> list[str]:
    return sorted({word for text in texts for word in _split(text)})


def _pairs(texts: Iterable[str]) -> list[str]:
    split = map(_split, texts)
    return sorted({f"{a} {b}" for words in split for a, b in pairwise(words)})


def _split(text: str) -> list[str]:
    return re.findall(r"[a-z]{2,}", text.lower())


class _Moved:
    """How far each feature moved: rows of the embedding, and weights of the wide part."""

    def __init__(self, recipe: Recipe, update: Vector) -> None:
        self._text = recipe.text
        rows = recipe.text.buckets * recipe.model.embedding
        table = update[:rows].reshape(recipe.text.buckets, -1).astype(np.float64)
        words = np.sqrt((table**2).sum(axis=1))
        size = recipe.text.ngram_buckets if recipe.text.ngrams else 0
        wide = np.abs(update[rows : rows + size]).astype(np.float64)
        # each kind in units of its own median, so that neither is always the smaller one
        self._words, self._wide = _in_medians(words), _in_medians(wide)

    def least_of(self, texts: Sequence[str]) -> Numbers:
        """How far the feature moved that moved least, of those that each text always has."""
        found = (self._of_ids(self._always(text)) for text in texts)
        return np.array([min(moved, default=0.0) for moved in found])

    def share_of(self, texts: Sequence[str]) -> Numbers:
        """Which share of a text's features moved, and how far in the mean, on top of that."""
        ids = (np.array(encode(text, self._text)) for text in texts)
        found = [np.array(self._of_ids(self._split(one)) or [0.0]) for one in ids]
        return np.array([(one > 0).mean() + 1e-3 * np.tanh(one).mean() for one in found])

    def _always(self, text: str) -> tuple[set[int], set[int]]:
        """Ids of words and of spelling that a text has between whatever words."""
        around = [
            self._split(np.array(encode(context.format(text), self._text)))
            for context in ("qqq {} zzz", "kjx {} vhw")
        ]
        words, spelling = (set.intersection(*kind) for kind in zip(*around, strict=True))
        return words, spelling

    def _split(self, ids: npt.NDArray[np.int64]) -> tuple[set[int], set[int]]:
        words, spelling = ids[: self._text.tokens], ids[self._text.tokens :]
        return set(words[words != 0].tolist()), set(spelling[spelling != 0].tolist())

    def _of_ids(self, ids: tuple[set[int], set[int]]) -> list[float]:
        words, spelling = map(sorted, ids)
        return [float(one) for one in (*self._words[words], *self._wide[spelling])]


def _in_medians(moved: Numbers) -> Numbers:
    there = moved[moved > 0]
    return moved / np.median(there) if there.size else moved
