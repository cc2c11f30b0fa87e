"""What a recipe sees of messages: of some nothing, and of long ones the beginning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.model.recipe import TextRecipe

MOST = 0.5
"""The share of messages of which a recipe must see something to be worth training."""


@dataclass(frozen=True)
class Coverage:
    """Counts of messages.

    unseen: those of which no word and no feature is left.
    cut: those with as many words as the recipe reads, or more.
    """

    rows: int
    unseen: int
    cut: int

    def remarks(self, recipe: TextRecipe) -> list[str]:
        """What the owner should know of it, a line each."""
        lines = []
        if self.rows and self.unseen > MOST * self.rows:
            why = "it reads a-z alone; " if recipe.cleaning == "letters" else ""
            lines.append(
                f"WARNING: the recipe sees nothing of {self.unseen:,} of {self.rows:,} messages: "
                f"{why}the recipe default reads every language"
            )
        if self.cut:
            further = f", and the first {recipe.ngrams} features of spelling" * bool(recipe.ngrams)
            lines.append(
                f"{self.cut:,} of {self.rows:,} messages are long: the recipe reads their first "
                f"{recipe.tokens} words{further}"
            )
        return lines


def coverage(ids: npt.NDArray[np.integer], recipe: TextRecipe) -> Coverage:
    """Of rows of ids (rows, recipe.width), as shared/model/text.py makes them."""
    words = ids[:, : recipe.tokens]
    unseen = int((~ids.any(axis=1)).sum())
    return Coverage(len(ids), unseen, int((words[:, 0] != 0).sum()))
