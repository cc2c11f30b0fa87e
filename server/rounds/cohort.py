"""Who should take part in a round: how many nodes it needs, and which ones are drawn."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

from shared.errors import UsageError


@dataclass(frozen=True)
class MinNodes:
    """How many nodes a round needs: a count, or else a share of those that it asks."""

    count: int | None = None
    share: float = 1.0

    @classmethod
    def parse(cls, text: str) -> MinNodes:
        """`3` is a count, `0.8` a share. Raises UsageError where it is neither."""
        try:
            made = cls(count=int(text)) if text.isdecimal() else cls(share=float(text))
        except ValueError:
            made = cls(count=0)
        if (made.count is not None and made.count < 1) or not 0 < made.share <= 1:
            raise UsageError(
                f"{text!r} is no number of nodes that a round needs",
                next_step="Give a count such as 3, or a share above 0 and up to 1.0 such as 0.8.",
            )
        return made

    def of(self, asked: int) -> int:
        """How many of so many nodes are needed; 1 to `asked`.

        Raises:
            UsageError: the count is larger than that.
        """
        if self.count is None:
            # 0.3 of 10 is 3, though 0.3 * 10 is a little more in binary
            return max(1, math.ceil(round(self.share * asked, 9)))
        if self.count > asked:
            raise UsageError(
                f"a round needs {self.count} nodes, and only {asked} are asked",
                next_step="Lower --min-nodes, or name more nodes.",
            )
        return self.count

    def __str__(self) -> str:
        return str(self.share if self.count is None else self.count)


ALL = MinNodes()
HALF = MinNodes(share=0.5)


def draw_order(nodes: Iterable[str], seed: int, number: int) -> list[str]:
    """All node ids in the order in which a round draws its cohort.

    A function of the run's seed, the round and the ids alone; a cohort is the first of the list
    that are there.
    """
    digest = hashlib.blake2b(f"{seed}/cohort/{number}".encode(), digest_size=16).digest()
    drawn = sorted(nodes)
    random.Random(digest).shuffle(drawn)  # noqa: S311 - reproducible by intent
    return drawn
