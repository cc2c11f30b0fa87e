"""Ways to deal one collection of messages out to several owners. Pure: no files, no output.

    article     in the file's order, as the 2019 article did: the first 80 % are trained on, the
                last 20 % held out, both cut into equal consecutive parts
    iid         shuffled; every owner gets the same share of each class, 20 % of it held out
    dirichlet   skewed as owners are in life, in size and in share of spam: each class is dealt
                out in proportions drawn from a Dirichlet distribution (alpha: large is even, 0.1
                is harsh), after every owner was given FLOOR rows of each class to be able to
                train and measure at all; each owner's 20 % are held out

All are deterministic in the seed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Literal

from shared.errors import UsageError
from worker_node.data.messages import LABELS
from worker_node.data.near_duplicates import near_groups
from worker_node.data.shard import Message, Shard

Partition = Literal["article", "iid", "dirichlet"]
HELD_OUT = 0.2
FLOOR = 5


def deduplicate(messages: Sequence[Message]) -> list[Message]:
    """The first message of every text, compared character by character."""
    first: dict[str, Message] = {}
    for message in messages:
        first.setdefault(message.text, message)
    return list(first.values())


def deduplicate_near(messages: Sequence[Message]) -> list[Message]:
    """The first message of every group of near-duplicates (worker_node/data/near_duplicates.py)."""
    groups = near_groups([message.text for message in messages])
    return [message for number, message in enumerate(messages) if groups[number] == number]


def deal(
    messages: Sequence[Message],
    owners: int,
    partition: Partition,
    *,
    seed: int,
    alpha: float,
    keep_together: bool = False,
) -> list[Shard]:
    """One shard an owner.

    Args:
        alpha: concentration, above 0; "dirichlet" alone uses it.
        keep_together: no near-duplicate of a held-out message is trained on by anybody; for "iid".

    Raises:
        UsageError: with so few messages, an owner would have a part without ham or without spam;
            or near-duplicates cannot be kept together in this partition.
    """
    if keep_together and partition != "iid":
        raise UsageError(
            f"near-duplicates cannot be kept together in the partition {partition}",
            "it deals out by the file's order, or by owner",
            "Use --partition iid, or remove them with --deduplicate near.",
        )
    rng = random.Random(seed)  # noqa: S311 - reproducible by intent; nothing secret hangs on it
    match partition:
        case "article":
            shards = _article(messages, owners)
        case "iid":
            shards = _iid(messages, owners, rng, keep_together)
        case "dirichlet":
            shards = _dirichlet(messages, owners, rng, alpha)
    for number, shard in enumerate(shards, start=1):
        for part, counts in shard.label_counts().items():
            if not all(counts.values()):
                raise UsageError(
                    f"{len(messages)} messages are too few for {owners} owners",
                    f"owner {number} would have {counts['ham']} ham and {counts['spam']} spam "
                    f"in {part}",
                    "Name fewer owners or another partition.",
                )
    return shards


def _article(messages: Sequence[Message], owners: int) -> list[Shard]:
    cut = len(messages) - int(len(messages) * HELD_OUT)
    train, held_out = (_slices(rows, owners) for rows in (messages[:cut], messages[cut:]))
    return [Shard(*parts) for parts in zip(train, held_out, strict=True)]


def _slices(rows: Sequence[Message], count: int) -> list[tuple[Message, ...]]:
    ends = [len(rows) * part // count for part in range(count + 1)]
    return [tuple(rows[start:end]) for start, end in pairwise(ends)]


def _iid(
    messages: Sequence[Message], owners: int, rng: random.Random, keep_together: bool
) -> list[Shard]:
    train: list[Message] = []
    held_out: list[Message] = []
    classes = _shuffled_classes(messages, rng)
    if keep_together:
        held_out = _held_out_groups(messages, classes)
        aside = set(map(id, held_out))
        train = [row for rows in classes for row in rows if id(row) not in aside]
        classes = []
    for rows in classes:
        cut = round(len(rows) * HELD_OUT)
        held_out += rows[:cut]
        train += rows[cut:]
    # class after class, dealt like cards: nobody's share of a class is off by more than one
    return [
        Shard(_shuffled(train[owner::owners], rng), _shuffled(held_out[owner::owners], rng))
        for owner in range(owners)
    ]


def _held_out_groups(
    messages: Sequence[Message], classes: Sequence[Sequence[Message]]
) -> list[Message]:
    """Whole groups of near-duplicates, drawn in the classes' order until each class has its share.

    What a group has of the other class comes along.
    """
    groups = near_groups([message.text for message in messages])
    group_of = {id(message): group for message, group in zip(messages, groups, strict=True)}
    taken: set[int] = set()
    for rows in classes:
        wanted = round(len(rows) * HELD_OUT)
        sizes = Counter(group_of[id(row)] for row in rows)
        have = sum(count for group, count in sizes.items() if group in taken)
        for row in rows:
            group = group_of[id(row)]
            # the largest templates would be most of a class's share, and are trained on
            if group not in taken and have + sizes[group] <= wanted:
                taken.add(group)
                have += sizes[group]
    return [row for rows in classes for row in rows if group_of[id(row)] in taken]


def _dirichlet(
    messages: Sequence[Message], owners: int, rng: random.Random, alpha: float
) -> list[Shard]:
    train: list[list[Message]] = [[] for _ in range(owners)]
    held_out: list[list[Message]] = [[] for _ in range(owners)]
    for rows in _shuffled_classes(messages, rng):
        spare = len(rows) - FLOOR * owners
        if spare < 0:
            raise UsageError(
                f"{len(rows)} messages of one class are too few for {owners} owners",
                f"each needs {FLOOR}",
                "Name fewer owners.",
            )
        ends = [0, *accumulate(FLOOR + n for n in _skewed_counts(spare, owners, alpha, rng))]
        for owner, (start, end) in enumerate(pairwise(ends)):
            cut = start + max(1, round((end - start) * HELD_OUT))
            held_out[owner] += rows[start:cut]
            train[owner] += rows[cut:end]
    return [
        Shard(_shuffled(train[owner], rng), _shuffled(held_out[owner], rng))
        for owner in range(owners)
    ]


def _skewed_counts(total: int, owners: int, alpha: float, rng: random.Random) -> list[int]:
    """Counts that add up to total, in proportions drawn from Dirichlet(alpha, ..., alpha)."""
    draws = [rng.gammavariate(alpha, 1.0) for _ in range(owners)]
    if sum(draws) == 0.0:  # a tiny alpha may underflow; in the limit, one owner has it all
        draws[rng.randrange(owners)] = 1.0
    ends = [round(total * part / sum(draws)) for part in accumulate(draws)]
    return [end - start for start, end in pairwise([0, *ends])]


def _shuffled_classes(messages: Sequence[Message], rng: random.Random) -> list[list[Message]]:
    classes = [[m for m in messages if m.label == label] for label in LABELS.values()]
    for rows in classes:
        rng.shuffle(rows)
    return classes


def _shuffled(rows: Sequence[Message], rng: random.Random) -> tuple[Message, ...]:
    return tuple(rng.sample(rows, len(rows)))
