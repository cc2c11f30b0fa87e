"""Classifying messages with a trained model, on this machine alone."""

from __future__ import annotations

import os
import re
import select
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from shared.errors import StorageError, describe_os_error
from shared.model.many_texts import encode_all
from shared.model.scorer import probabilities, scorer_of
from shared.reading.contents import unpacked
from shared.reading.encodings import decode
from shared.reading.long_text import LongText
from shared.reading.sms_backup import is_backup, received
from shared.trained_model.saved_model import SavedModel

CHUNK_BYTES = 2**17
"""Of standard input that are read before they are answered, where so many wait."""
BATCH_ROWS = 1024
"""Messages that are classified together; what each takes falls with their number, up to here."""


@dataclass(frozen=True)
class Verdict:
    """One message and what the model says; `spam` is a probability, 0 to 1."""

    text: str
    label: str
    spam: float

    def as_dict(self) -> dict[str, str | float]:
        return asdict(self)


class Scores(Protocol):
    """What gives logits (n,) of rows of ids (n, tokens)."""

    def logits(self, ids: npt.NDArray[np.integer], /) -> npt.NDArray[np.floating]: ...


class Classifier:
    """A saved model, ready to classify.

    unseen: of how many messages so far, with letters or digits, it saw nothing, and had to answer
        all the same.

    Args:
        threshold: the probability from which on a message is called spam, 0 to 1.
        scorer: what gives the model's logits; None computes them here.
    """

    def __init__(
        self, saved: SavedModel, threshold: float = 0.5, scorer: Scores | None = None
    ) -> None:
        self._text = saved.recipe.text
        self._threshold = threshold
        self.unseen = 0
        self._scorer = scorer or scorer_of(saved.recipe, saved.state)

    def classify(self, texts: list[str]) -> list[Verdict]:
        """A verdict for each text, in order."""
        if not texts:
            return []
        rows = encode_all(texts, self._text)
        self.unseen += sum(
            any(map(str.isalnum, texts[row])) for row in np.flatnonzero(~rows.any(axis=1))
        )
        return [
            Verdict(text, "spam" if spam >= self._threshold else "ham", spam)
            for text, spam in zip(
                texts, probabilities(self._scorer.logits(rows)).tolist(), strict=True
            )
        ]


def seen(text: str) -> str:
    """With replacement characters for what is of no encoding, as in an argument or in JSON."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


_SURROGATES = re.compile("[\ud800-\udfff]")


def lines_as_they_come(stream: BinaryIO) -> Iterator[list[str]]:
    """Lists of whole lines, as many as are there: few from a terminal, a thousand from a file.

    Bytes that are no UTF-8 may come from anywhere, and one bad line must not end the others: they
    become replacement characters.
    """
    rest = b""
    for chunk in _chunks(stream):
        *lines, rest = (rest + chunk).split(b"\n")
        for start in range(0, len(lines), BATCH_ROWS):
            some = lines[start : start + BATCH_ROWS]
            yield [line.decode("utf-8", "replace").rstrip("\r") for line in some]
    if rest:
        yield [rest.decode("utf-8", "replace")]


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    """What is there, and waits for the first of it alone: whoever types is answered.

    What was read before an error comes before it.
    """
    chunk = _read(stream)
    while chunk:
        some, size = [chunk], len(chunk)
        failed: StorageError | None = None
        while chunk and size < CHUNK_BYTES and select.select([stream], [], [], 0)[0]:
            try:
                chunk = _read(stream)
            except StorageError as error:
                failed = error
                break
            some.append(chunk)
            size += len(chunk)
        yield b"".join(some)
        if failed is not None:
            raise failed
        if chunk:  # the end is told once at a terminal
            chunk = _read(stream)


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
    decoded = decode(unpacked(path))
    if is_backup(decoded.head(4096)):
        yield from in_batches([one.text for one in received(decoded, str(path))])
    else:
        yield from in_batches([line for line in _lines(decoded) if line.strip()])


def lines_of_file(path: Path) -> Iterator[list[str]]:
    """All lines of a text, in batches; raises DataError as `messages_of_file` does."""
    yield from in_batches(_lines(decode(unpacked(path))))


def _lines(text: LongText) -> list[str]:
    lines = [line.rstrip("\r") for line in text.lines()]
    return lines if lines[-1] else lines[:-1]


def in_batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Some texts at a time, and what is of no encoding replaced."""
    for start in range(0, len(texts), BATCH_ROWS):
        some = texts[start : start + BATCH_ROWS]
        yield [seen(text) for text in some]
