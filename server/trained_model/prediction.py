"""Classifying messages with a trained model, on this machine alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import BinaryIO

import torch

from server.trained_model.saved_model import SavedModel
from shared.model.classifier import SpamGRU, build_model, vector_to_state
from shared.model.text import encode_all

CHUNK_BYTES = 2**14


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

    def classify(self, texts: list[str]) -> list[Verdict]:
        """A verdict for each text, in order."""
        if not texts:
            return []
        ids = torch.from_numpy(encode_all(texts, self._recipe.text)).long()  # (batch, width)
        with torch.inference_mode():
            probabilities = torch.sigmoid(self._model(ids)).tolist()  # (batch,)
        return [
            Verdict(text, "spam" if spam >= 0.5 else "ham", spam)
            for text, spam in zip(texts, probabilities, strict=True)
        ]


def lines_as_they_come(stream: BinaryIO) -> Iterator[list[str]]:
    """Lists of whole lines, as many as are there: few from a terminal, hundreds from a file.

    Bytes that are no UTF-8 may come from anywhere, and one bad line must not end the others: they
    become replacement characters.
    """
    rest = b""
    while chunk := os.read(stream.fileno(), CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        yield [line.decode("utf-8", "replace").rstrip("\r") for line in lines]
    if rest:
        yield [rest.decode("utf-8", "replace")]
