"""Attacks each update before it leaves, as a coordinator could, and keeps what it would tell.

The owner may refuse what would tell too much. In a private run nothing is refused by it: whether an
update comes would tell of the rows, without noise.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.errors import NodeFailed, StorageError
from shared.model.recipe import Recipe
from shared.privacy.reading_updates import Numbers
from worker_node.data.shard import Shard
from worker_node.guarding.policy import refusal
from worker_node.guarding.rules.terms import LeakTerms
from worker_node.privacy.own_texts import OwnTexts
from worker_node.privacy.receipts import Figures, Leaving, Receipt, ReceiptFile

_REMEMBERED = 8
"""Updates whose receipt is known, so that one that is asked for again has the same."""
_EVERY = 10
_NEXT_STEP = "Train with --secure-aggregation on, or a private recipe; or ask the owner."

log = logging.getLogger("fedsms.node")


@dataclass(frozen=True)
class Departure:
    """An update that is about to leave.

    leaves: what it is. numbers: as whoever gets it would read them, (P,).
    """

    coordinator: str
    run: str
    round: int
    rounds: int
    recipe: Recipe
    leaves: Leaving
    numbers: Numbers


class LeakReceipts:
    """One node's receipts, and the owner's bounds on what they may say.

    Args:
        terms: the owner's.
        kept: None keeps receipts in memory.
    """

    def __init__(self, terms: LeakTerms | None = None, kept: ReceiptFile | None = None) -> None:
        self._terms = terms or LeakTerms()
        self.kept = kept or ReceiptFile()
        self._texts: OwnTexts | None = None
        self._known: dict[bytes, str] = {}
        self._turn = asyncio.Lock()

    @property
    def are_on(self) -> bool:
        return self._terms.receipts

    async def take(self, departure: Departure, shard: Shard) -> None:
        """Attacks an update, notes the receipt, and returns where it may leave.

        Of a private run's rounds, which take some milliseconds, it is the first, the last and each
        tenth.

        Raises:
            PolicyRefused: it would tell more than the owner allows.
            NodeFailed: the owner sets a bound, and it could not be attacked.
        """
        if not self._terms.receipts or not _is_due(departure):
            return
        async with self._turn:
            key = hashlib.blake2b(departure.numbers.tobytes(), digest_size=32).digest()
            if key not in self._known:
                refused = await self._receipt(departure, shard)
                self._known[key] = refused
                for oldest in list(self._known)[:-_REMEMBERED]:
                    del self._known[oldest]
        if rule := self._known.get(key, ""):
            why = "what this round would tell of its rows is more than its owner allows"
            raise refusal(f"leak.{rule}", why, _NEXT_STEP)

    async def _receipt(self, departure: Departure, shard: Shard) -> str:
        """Notes one; the rule that keeps the update here, "" where none does."""
        is_bound = self._terms.is_bounded and not departure.recipe.is_private
        try:
            words, messages = await asyncio.to_thread(self._attack, departure, shard)
        except Exception as error:
            # whatever it is: in a private run it would tell of the rows that nothing came
            trace = not isinstance(error, (ValueError, MemoryError))
            said = "what round %d tells could not be found: %s"
            log.warning(said, departure.round, error, exc_info=trace)
            if is_bound:
                fact = "the node cannot find what this round would tell, and its owner bounds it"
                raise NodeFailed(fact) from None
            return ""
        refused = self._terms.broken_by(words.advantage, messages.advantage) if is_bound else ""
        receipt = Receipt(
            time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            coordinator=departure.coordinator,
            run=departure.run,
            round=departure.round,
            rounds=departure.rounds,
            leaves=departure.leaves,
            words=words,
            messages=messages,
            refused=refused,
        )
        log.info("what leaves for %s tells, %s", receipt.coordinator, receipt.in_words())
        try:
            await asyncio.to_thread(self.kept.add, receipt)
        except StorageError as error:
            log.warning("%s", error)
        return refused

    def _attack(self, departure: Departure, shard: Shard) -> tuple[Figures, Figures]:
        texts = self._texts
        if texts is None or texts.recipe != departure.recipe:
            self._texts = None  # of one recipe at a time: kept, they would add up
            texts = self._texts = OwnTexts.of(shard, departure.recipe)
        words, messages = texts.attack(departure.numbers)
        return Figures.of(words, texts.all_words), Figures.of(messages, texts.all_messages)


def _is_due(departure: Departure) -> bool:
    ends = (1, departure.rounds)
    number = departure.round
    return not departure.recipe.is_private or number in ends or number % _EVERY == 0
