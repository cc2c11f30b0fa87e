"""Classifying messages with a trained model, on this machine alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from server.trained_model.saved_model import SavedModel
from shared.errors import StorageError, describe_os_error
from shared.model.classifier import build_any_model, vector_to_state
from shared.model.text import encode_all
from shared.reading.contents import contents
from shared.reading.encodings import decode, lines_of
from shared.reading.sms_backup import is_backup, received

CHUNK_BYTES = 2**14
BATCH_ROWS = 256


@dataclass(frozen=True)
class Verdict:
    """One message and what the model says; `spam` is a probability, 0 to 1."""

    text: str
    label: str
    spam: float

    def as_dict(self) -> dict[str, str | float]:
        return asdict(self)


class Classifier:
    """A saved model, ready to classify.

    unseen: of how many messages so far, with letters or digits, it saw nothing, and had to answer
        all the same.
    """

    def __init__(self, saved: SavedModel) -> None:
        self._recipe = saved.recipe
        self.unseen = 0
        self._model = build_any_model(saved.recipe).eval()
        vector_to_state(self._model, saved.state)

    def classify(self, texts: list[str]) -> list[Verdict]:
        """A verdict for each text, in order."""
        if not texts:
            return []
        rows = encode_all(texts, self._recipe.text)
        self.unseen += sum(
            not row.any() and any(map(str.isalnum, text))
            for row, text in zip(rows, texts, strict=True)
        )
        ids = torch.from_numpy(rows).long()  # (batch, width)
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
    while chunk := _read(stream):
        *lines, rest = (rest + chunk).split(b"\n")
        yield [line.decode("utf-8", "replace").rstrip("\r") for line in lines]
    if rest:
        yield [rest.decode("utf-8", "replace")]


def _read(stream: BinaryIO) -> bytes:
    try:
        return os.read(stream.fileno(), CHUNK_BYTES)
    except OSError as error:
        raise StorageError(
            "cannot read standard input", describe_os_error(error), "Name the file with --file."
        ) from error


def messages_of_file(path: Path) -> Iterator[list[str]]:
    """The messages of a phone's backup, or the lines of a text that are not blank, in batches.

    Raises:
        DataError: it cannot be read, or is damaged.
    """
    data = contents(path)
    decoded = decode(data)
    if is_backup(decoded.text):
        texts = [one.text for one in received(data, str(path))]
    else:
        texts = [line.rstrip("\r") for line in lines_of(decoded.text) if line.strip()]
    clean = [text.encode("utf-8", "replace").decode() for text in texts]
    for start in range(0, len(clean), BATCH_ROWS):
        yield clean[start : start + BATCH_ROWS]
