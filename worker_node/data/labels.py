"""What the values of a label column mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HAM, SPAM = 0, 1
LABELS = {"ham": HAM, "spam": SPAM}
_NAMES = {label: name for name, label in LABELS.items()}

_HAM = ("ham", "ok", "0", "0.0", "false", "no", "not spam", "not_spam", "not-spam", "notspam")
_SPAM = ("spam", "junk", "1", "1.0", "true", "yes")
_MEANINGS = {**dict.fromkeys(_HAM, HAM), **dict.fromkeys(_SPAM, SPAM)}
# ham_1 and spam_2 are how collections of mails call their folders
_FOLDERS = ("easy_ham", "hard_ham")
_COUNTED = {"0", "0.0", "false", "no", "1", "1.0", "true", "yes"}
"""Values that say yes or no to a question which the column's name asks."""


@dataclass(frozen=True)
class Meanings:
    """Which values are ham and which are spam.

    spam: values that the owner says are spam, compared without regard to case; all others but
        empty ones are ham then. Empty: the values that people use are known.
    """

    spam: tuple[str, ...] = ()

    def of(self, value: str) -> int | None:
        """0 for ham, 1 for spam, None for neither."""
        plain = plain_value(value)
        if not self.spam:
            return _MEANINGS.get(plain)
        if not plain:
            return None
        return SPAM if plain in map(plain_value, self.spam) else HAM


def label_name(label: int) -> str:
    """ "ham" or "spam"."""
    return _NAMES[label]


def plain_value(value: str) -> str:
    return value.strip().casefold()


def asks_for_ham(column: str, values: Sequence[str]) -> bool:
    """Whether a column of yes and no asks which messages are ham, where a yes is no spam."""
    name = plain_value(column)
    asks = ("ham" in name or "not" in name or "legit" in name) and "spam/ham" not in name
    return asks and says_yes_or_no(values)


def says_yes_or_no(values: Sequence[str]) -> bool:
    """Whether values answer the question that a column's name asks, as 0 and 1 do."""
    return bool(values) and all(plain_value(value) in _COUNTED for value in values)


def meaning_of_folder(name: str) -> int | None:
    """What the messages in a folder of this name are; None where it says neither."""
    plain = plain_value(name)
    if plain in ("ham", "spam", "junk", "ok"):
        return _MEANINGS[plain]
    stem = plain.rstrip("0123456789").rstrip("_-")
    if stem in _FOLDERS:
        return HAM
    return LABELS.get(stem)
