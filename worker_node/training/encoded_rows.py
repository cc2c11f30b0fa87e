"""An owner's messages as rows of ids, encoded when they are used.

A round uses some rows of a large shard and each of a small one many times. So what was encoded is
kept, up to a bound, where all rows fit within it; of more rows nothing is kept, for most of what
was would be dropped before it is used again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.model.many_texts import encode_all
from shared.model.recipe import TextRecipe
from worker_node.training import KEPT_BYTES

Ids = npt.NDArray[np.int32]


class EncodedRows:
    """Texts that are indexed as their ids (rows, recipe.width) would be, by row numbers.

    Args:
        texts: the messages, by row.
        kept_bytes: up to how many bytes of ids are kept for the next time; 0 keeps none.
    """

    def __init__(
        self, texts: Sequence[str], recipe: TextRecipe, kept_bytes: int = KEPT_BYTES
    ) -> None:
        self._texts = texts
        self._recipe = recipe
        self.shape = (len(texts), recipe.width)
        fits = 0 < 4 * len(texts) * recipe.width <= kept_bytes
        self._kept = np.empty(self.shape, np.int32) if fits else None
        self._known = np.zeros(len(texts), bool)

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: npt.NDArray[np.integer] | slice) -> Ids:
        """The ids of some rows (len(index), recipe.width), not to be changed."""
        if isinstance(index, slice):
            if self._kept is not None and self._known[index].all():
                known: Ids = self._kept[index]  # nothing is copied
                return known
            index = np.arange(len(self))[index]
        if self._kept is None:
            return self._encoded(index)
        new = np.unique(index[~self._known[index]])
        if len(new):
            self._kept[new] = self._encoded(new)
            self._known[new] = True
        kept: Ids = self._kept[index]
        return kept

    def _encoded(self, index: npt.NDArray[np.integer]) -> Ids:
        return encode_all([self._texts[row] for row in index.tolist()], self._recipe)
