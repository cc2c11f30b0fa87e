"""A trained model: where it lies, and at work on messages of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # numpy comes with the first message
    from shared.model.recipe import Recipe
    from shared.model.vectors import Vector
    from shared.trained_model.prediction import Classifier, Verdict
    from shared.trained_model.saved_model import SavedModel

MESSAGES_AHEAD = 256
"""Messages that are classified together: many are quicker together than one by one."""


class Model:
    """A model on disk.

    Args:
        path: a run folder, or any folder with model.safetensors and config.json.

    Raises:
        StorageError: there is none, or it is damaged, or was made by another tokeniser.
    """

    def __init__(self, path: str | Path) -> None:
        from shared.trained_model.saved_model import open_model

        self.path, self.saved = open_model(Path(path), Path())

    saved: SavedModel

    @property
    def recipe(self) -> Recipe:
        """What it was trained by."""
        return self.saved.recipe

    @property
    def state(self) -> Vector:
        """Its numbers as one vector (P,), float32."""
        return self.saved.state

    def predict(self, messages: str | Iterable[str], threshold: float = 0.5) -> list[Verdict]:
        """A verdict for each message, in order: `text`, `label`, and `spam`, a probability 0 to 1.

        Nothing leaves this machine. May be called from any thread.

        Args:
            threshold: the probability from which on the label is spam.
        """
        return list(self.verdicts([messages] if isinstance(messages, str) else messages, threshold))

    def verdicts(self, messages: Iterable[str], threshold: float = 0.5) -> Iterator[Verdict]:
        """The same one by one, of as many messages as there are; some are read ahead."""
        left = iter(messages)
        while texts := list(islice(left, MESSAGES_AHEAD)):
            for verdict in self._classifier.classify(texts):
                label = "spam" if verdict.spam >= threshold else "ham"
                yield replace(verdict, label=label)

    @cached_property
    def _classifier(self) -> Classifier:
        from shared.trained_model.prediction import Classifier

        return Classifier(self.saved)

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r}, {self.recipe.parameters:,} parameters)"
