"""Leak receipts: what each update that leaves would tell, as the owner's own attack found it.

They hold counts and no words, and stay with the owner: one JSON object a line, the newest ones.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import StorageError
from shared.files import is_present, read_bytes, storage_error, write_whole
from shared.privacy.recognising import Recognised

RECEIPTS = "receipts.jsonl"
KEPT = 1000
"""Receipts that are kept, the newest ones; the file has twice as many at most, of 600 bytes."""
MOST_BYTES = 4 * 2**20

Leaving = Literal["update", "masked update", "noisy sum", "masked noisy sum"]
Count = Annotated[int, Field(ge=0)]


class Figures(BaseModel):
    """What was recognised: of `asked` of the owner's `all`, and of `others` that he does not have.

    auc: 0 to 1; 0.5 is guessing. is_chance: guessing would find as much.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    found: Count
    asked: Count
    all: Count
    false_alarms: Count
    others: Count
    auc: float
    is_chance: bool

    @classmethod
    def of(cls, found: Recognised, everything: int) -> Figures:
        return cls(
            found=found.found,
            asked=found.of,
            all=everything,
            false_alarms=found.false_alarms,
            others=found.decoys,
            auc=found.auc,
            is_chance=found.is_chance,
        )

    @property
    def advantage(self) -> float:
        """Share found of the owner's, less that of the others; 0 where it is chance."""
        if self.is_chance:
            return 0.0
        return self.found / self.asked - self.false_alarms / self.others

    def in_words(self, what: str) -> str:
        everything = f"of your {self.all:,} {what}"
        if self.is_chance:
            return f"none {everything} that guessing would not find"
        share = 100 * self.found / self.asked
        found = f"{self.found:,}" if self.asked == self.all else f"{share:.0f} of 100"
        alarms = 100 * self.false_alarms / self.others
        return f"{found} {everything} ({alarms:.0f} of 100 others are taken for yours)"


class Receipt(BaseModel):
    """One update that was about to leave.

    time: UTC. leaves: what it was. refused: the rule that kept it here; "" where it left.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    time: str
    coordinator: str
    run: str
    round: Count
    rounds: Count
    leaves: Leaving
    words: Figures
    messages: Figures
    refused: str = ""

    def in_words(self) -> str:
        told = f"{self.words.in_words('words')}; {self.messages.in_words('messages')}"
        if self.words.is_chance and self.messages.is_chance:
            told = "nothing that the attack finds: it recognises words and messages as by chance"
        kept = f"; it stayed here (rule {self.refused})" if self.refused else ""
        return f"round {self.round} of {self.rounds}, {self.leaves}: {told}{kept}"


class ReceiptFile:
    """The newest receipts of one node.

    Args:
        path: where they are kept; None keeps them in memory.

    Raises:
        StorageError: the file is damaged, or cannot be read.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        there = read_receipts(path) if path is not None and is_present(path) else []
        self._newest: deque[Receipt] = deque(there, KEPT)
        self._lines = 0  # the first one writes the file anew: its last line may be cut short

    @property
    def newest(self) -> list[Receipt]:
        """The oldest first."""
        return list(self._newest)

    def add(self, receipt: Receipt) -> None:
        """Raises StorageError where it cannot be kept; it is in memory then."""
        self._newest.append(receipt)
        if self.path is None:
            return
        if 0 < self._lines < 2 * KEPT:
            _append(self.path, receipt)
            self._lines += 1
            return
        lines = "".join(one.model_dump_json() + "\n" for one in self._newest)
        write_whole(self.path, lines.encode(), 0o600, durable=False)
        self._lines = len(self._newest)


def _append(path: Path, receipt: Receipt) -> None:
    """Without waiting for the disk: nothing is decided by it."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(receipt.model_dump_json() + "\n")
    except OSError as error:
        raise storage_error("write", path, error) from error


def read_receipts(path: Path) -> list[Receipt]:
    """All that the file has, the oldest first; a line cut short by a crash is passed over.

    Raises:
        StorageError: it cannot be read, or holds what is no receipt.
    """
    data = read_bytes(path, MOST_BYTES)
    try:
        return [
            Receipt.model_validate_json(line) for line in data[: data.rfind(b"\n") + 1].splitlines()
        ]
    except ValidationError:
        raise StorageError(
            f"{path} is damaged, which holds this node's leak receipts",
            next_step="Look at it, and move it away: receipts then begin anew.",
        ) from None
