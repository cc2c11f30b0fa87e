"""Classifying messages with a trained model, on this machine alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice

import torch

from server.saved_model import SavedModel
from shared.model import SpamGRU, build_model, vector_to_state
from shared.text import encode_all

AT_ONCE = 256


@dataclass(frozen=True)
class Verdict:
    """One message and what the model says; `spam` is a probability, 0 to 1."""

    text: str
    label: str
    spam: float

    def as_dict(self) -> dict[str, str | float]:
        return asdict(self)


class Classifier:
    """A saved model, ready to classify."""

    def __init__(self, saved: SavedModel) -> None:
        self._recipe = saved.recipe
        self._model: SpamGRU = build_model(saved.recipe).eval()
        vector_to_state(self._model, saved.state)

    def classify(self, texts: Iterable[str]) -> Iterator[Verdict]:
        """A verdict for each text, in order; reads ahead no more than AT_ONCE of them."""
        source = iter(texts)
        while batch := list(islice(source, AT_ONCE)):
            yield from self._classify(batch)

    def _classify(self, texts: list[str]) -> Iterator[Verdict]:
        ids = torch.from_numpy(encode_all(texts, self._recipe.text)).long()  # (batch, width)
        with torch.inference_mode():
            probabilities = torch.sigmoid(self._model(ids)).tolist()  # (batch,)
        for text, spam in zip(texts, probabilities, strict=True):
            yield Verdict(text, "spam" if spam >= 0.5 else "ham", spam)
