"""Made-up messages for tests: learnable, deterministic, nobody's."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from pathlib import Path

from worker_node.data.shard import Message

_BOTH = " to you the a now and me your for is can i we at"
_WORDS = {
    0: "home late dinner sorry love bus lunch mum tonight class ok tomorrow happy sleep" + _BOTH,
    1: "WIN free prize claim urgent txt cash voucher £1000 reply 87121 www.win.example" + _BOTH,
}


def made_up(rows: int = 200, spam: float = 0.25, seed: int = 0) -> list[Message]:
    """Messages with different texts; the classes share some words but not most.

    Args:
        spam: share of spam, met to the row.
    """
    rng = random.Random(seed)
    labels = [int(row < round(rows * spam)) for row in range(rows)]
    rng.shuffle(labels)
    messages: dict[str, Message] = {}
    while len(messages) < rows:
        label = labels[len(messages)]
        text = " ".join(rng.choices(_WORDS[label].split(), k=10))
        messages[text] = messages.get(text, Message(label, text))
    return list(messages.values())


def write_tsv(path: Path, messages: Iterable[Message]) -> Path:
    """Writes messages as the SMS Spam Collection has them; returns the path."""
    lines = [f"{('ham', 'spam')[message.label]}\t{message.text}\n" for message in messages]
    path.write_text("".join(lines), encoding="utf-8", newline="")
    return path


def marked(rows: int, seed: int = 0) -> list[Message]:
    """Made-up messages that each end with a word of their own, to be found wherever it gets to."""
    return [
        Message(one.label, f"{one.text} zq{number:04d}mark")
        for number, one in enumerate(made_up(rows, seed=seed))
    ]


def messages_found(content: bytes, texts: Iterable[str]) -> list[str]:
    """Those texts, and marks of texts, that are somewhere in the bytes."""
    words = [word for text in texts for word in (text, text.split()[-1])]
    # where the end that all have in common is nowhere, none of them is
    backwards = [word[::-1] for word in words]
    end = os.path.commonprefix(backwards)[::-1]  # noqa: RUF071  (no paths: of any letters)
    codes = [code for code in ("utf-8", "utf-16-le") if end.encode(code) in content]
    return [word for word in words if any(word.encode(code) in content for code in codes)]
