"""A trained model: where it lies, and at work on messages of this machine."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch comes with the first message
    from server.trained_model.prediction import Classifier, Verdict
    from server.trained_model.saved_model import SavedModel
    from shared.model.recipe import Recipe
    from shared.model.vectors import Vector


class Model:
    """A model on disk.

    Args:
        path: a run folder, or any folder with model.safetensors and config.json.

    Raises:
        StorageError: there is none, or it is damaged, or was made by another tokeniser.
    """

    def __init__(self, path: str | Path) -> None:
        from server.trained_model.saved_model import open_model

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

    def predict(self, messages: str | Iterable[str]) -> list[Verdict]:
        """A verdict for each message, in order: `text`, `label`, and `spam`, a probability 0 to 1.

        Nothing leaves this machine. May be called from any thread.
        """
        texts = [messages] if isinstance(messages, str) else list(messages)
        return self._classifier.classify(texts)

    @cached_property
    def _classifier(self) -> Classifier:
        from server.trained_model.prediction import Classifier

        return Classifier(self.saved)

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r}, {self.recipe.parameters:,} parameters)"
