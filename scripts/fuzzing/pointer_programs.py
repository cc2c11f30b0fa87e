"""Random programs of a coordinator in pointer mode, each run on the rows of two owners.

Frame by frame, against the engine of a session's process: on two owners' rows of equal shapes and
other values. Whatever leaves must be the same bits, but for what was paid before the frame ran; and
what was paid must be the same as well. Operands are chosen by what the first run holds, as a
coordinator would that knows one owner's rows and wants another's.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from scripts.fuzzing.pointer_oracle import NO_MORE, Asked, RowsWereTold, compare
from scripts.fuzzing.pointer_writer import ROWS, TOKENS, Call, Writer
from shared.errors import PolicyRefused
from shared.model.vectors import IDS
from worker_node.pointers.rows import TaggedTensor, places_for
from worker_node.pointers.session import PointerSession

HELD_OUT = 5
MAX_LEARNED = 12


def rows(seed: int, changed: int | None = None) -> list[TaggedTensor]:
    """An owner's rows; those of another owner differ from them in some places."""
    rng = np.random.default_rng(seed)
    parts = []
    other = np.random.default_rng((changed, 1)) if changed is not None else None
    for tag, count in (("#train", ROWS), ("#test", HELD_OUT)):
        inputs, labels = rng.integers(0, 10, (count, TOKENS)), rng.integers(0, 2, count)
        if other is not None:
            inputs = np.where(
                other.random((count, TOKENS)) < 0.3, other.integers(0, 10, inputs.shape), inputs
            )
            labels = np.where(other.random(count) < 0.3, 1 - labels, labels)
        parts.append(TaggedTensor(torch.from_numpy(inputs), (tag, "#inputs")))
        parts.append(TaggedTensor(torch.from_numpy(labels.astype(np.float32)), (tag, "#labels")))
    return parts


@dataclass
class Reached:
    """What programs have got to.

    paid: bits, of the first of each two runs. learned: calls of an operation that succeeded.
    latest: operations that succeeded in the program that runs; settled: rows were named at its
    last answer. Every operation that ever did has
    an entry in learned.
    """

    programs: int = 0
    frames: int = 0
    commands: int = 0
    succeeded: int = 0
    refused: int = 0
    answers: int = 0
    paid: int = 0
    learned: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    latest: set[str] = field(default_factory=set)
    settled: bool = False


class Run:
    """One owner's session. Args: bits: that may be told."""

    def __init__(
        self, owners: list[TaggedTensor], decoder: Any, gradients: bool, bits: int
    ) -> None:
        self.taken: list[int] = []
        self._left = bits
        ids = random.Random(7)  # noqa: S311  # the same in both runs
        self.session = PointerSession(
            decoder,
            places_for(owners),
            lambda: owners,
            5,
            gradients,
            self._take,
            lambda: ids.randrange(IDS.start, IDS.stop),
        )
        self._randomness = torch.default_generator.get_state()

    def _take(self, bits: int) -> None:
        self.taken.append(bits)
        if bits > self._left:
            raise PolicyRefused(NO_MORE)
        self._left -= bits

    def feed(self, payload: bytes) -> tuple[list[int], bytes | None]:
        """What was to be paid for a frame, and its answer."""
        self.taken = []
        torch.default_generator.set_state(self._randomness)  # a session is a process of its own
        try:
            return self.taken, self.session.handle(payload)
        finally:
            self._randomness = torch.default_generator.get_state()


def run_program(seed: int, decoder: Any, reached: Reached) -> None:
    """Writes and runs one program. Raises RowsWereTold."""
    rng = random.Random(seed)  # noqa: S311  # a program that its number gives again
    gradients = rng.random() < 0.25
    bits = rng.choice((0, 300, *[10**9] * 6))
    owners = rows(seed), rows(seed, changed=seed)
    pair = [Run(one, decoder, gradients, bits) for one in owners]
    writer = Writer(rng, pair[0].session.store, reached.learned)
    _watch(pair[0], reached)
    names_rows = rng.random() < 0.9
    for number in range(rng.randint(3, 16)):
        writer.names_rows = names_rows and number > 0
        _run_frame(writer, pair, gradients, reached)
    reached.programs += 1


def _run_frame(writer: Writer, pair: list[Run], gradients: bool, reached: Reached) -> None:
    written = writer.frame()
    (paid, first), (paid_too, second) = (run.feed(written.payload) for run in pair)
    reached.frames += 1
    reached.commands += len(writer.calls)
    reached.paid += sum(paid)
    if paid != paid_too:
        raise RowsWereTold(f"other prices: {paid} and {paid_too}")
    if first is not None and second is not None:
        reached.answers += 1
        reached.refused += NO_MORE.encode() in first
        derived = pair[0].session.store.derived
        may_leave = frozenset(writer.may_leave)
        asked = Asked(written.asks, derived, reached.settled, gradients, may_leave)
        try:
            compare(asked, paid, first, second)
        except RowsWereTold as error:
            raise RowsWereTold(f"{error}, after {writer.history}") from None
        reached.settled = derived
    elif first is not second:
        raise RowsWereTold("one has an answer and the other none")
    for name, call in writer.calls:
        known = reached.learned[name] if name in reached.latest else []
        if len(known) < MAX_LEARNED and call not in known:
            known.append(call)


def _watch(run: Run, reached: Reached) -> None:
    """Notes which operations have run, and were not refused."""
    store: Any = run.session.store
    original = store.run
    reached.latest, reached.settled = set(), False

    def noting(operation: Any, objects: Any) -> Any:
        result = original(operation, objects)
        reached.succeeded += 1
        reached.latest.add(operation.name)
        reached.learned[operation.name]  # has an entry from now on
        return result

    store.run = noting
