"""Attacks a run's last model with messages of which it is known whether they were trained on.

Whoever leads a federation has no rows; an owner, or whoever tries fedsms out, brings messages that
were in somebody's training rows, and as many of the same kind that were in nobody's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import DataError, UsageError
from shared.files import read_bytes
from shared.model.classifier import initial_state
from shared.model.many_texts import encode_all
from shared.model.scorer import scorer_of
from shared.privacy.membership import (
    Numbers,
    at_least_epsilon,
    found_at,
    margins,
    offline_likelihood,
    right_guesses,
)
from shared.privacy.reading_updates import Labels, Rows, Update, words_of
from shared.privacy.recognising import auc
from shared.trained_model.prediction import lines_of_file, seen
from shared.trained_model.saved_model import SavedModel, load

FEWEST = 20
"""Messages of each kind; of fewer no figure says anything."""
GUESSED = 0.1
"""Share of all messages about which guesses are made; fixed, or they would prove nothing."""
DELTA = 1e-5
_CLASSES = {"ham": 0, "spam": 1}


@dataclass(frozen=True)
class Known:
    """Messages, and the label of each, 1 for spam."""

    texts: list[str]
    labels: list[int]


@dataclass(frozen=True)
class Audit:
    """What the attacks came to; areas and shares from 0 to 1.

    members, others: messages. words, messages: areas under the curve of what the model moved. loss,
    likelihood: areas of membership by the last model, the second None without shadow runs.
    loss_found, likelihood_found: share found at 1 false alarm in 100. right: of `guesses`, by what
    moved. at_least: epsilon that they prove with 95 % certainty. claimed: the recipe's; None of a
    plain run.
    """

    members: int
    others: int
    words: float
    messages: float
    loss: float
    loss_found: float
    likelihood: float | None
    likelihood_found: float | None
    shadows: int
    right: int
    guesses: int
    at_least: float
    claimed: float | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def in_words(self) -> list[str]:
        claimed = f"{self.claimed:g}" if self.claimed is not None else "none"
        loss, moved = 100 * self.loss, 100 * self.messages
        lines = [
            f"{self.members:,} messages that were trained on, {self.others:,} that were not",
            f"words, by what the model moved     AUC {100 * self.words:.1f} %",
            f"messages, by what the model moved  AUC {moved:.1f} %",
            f"messages, by their loss            AUC {loss:.1f} %{_found(self.loss_found)}",
        ]
        if self.likelihood is not None and self.likelihood_found is not None:
            found = _found(self.likelihood_found)
            lines.append(
                f"messages, by likelihood ratio      AUC {100 * self.likelihood:.1f} %{found}, "
                f"with {self.shadows} shadow runs"
            )
        lines.append(
            f"{self.right} of {self.guesses} guesses are right. Where a coin chose what was "
            f"trained on, epsilon is at least {self.at_least:.2f} at delta {DELTA:g}; "
            f"claimed: {claimed}"
        )
        return lines


def _found(share: float) -> str:
    return f", {100 * share:.1f} % found at 1 % false alarms"


def read_known(path: Path) -> Known:
    """A file of lines `ham<TAB>text` or `spam<TAB>text`; blank lines are passed over.

    Raises:
        DataError: it cannot be read, or a line is none of these.
    """
    found = Known([], [])
    lines = [line for batch in lines_of_file(path) for line in batch]
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        label, tab, text = line.partition("\t")
        if not tab or label not in _CLASSES:
            raise DataError(
                f"line {number} of {path} is no message",
                'a line is "ham" or "spam", a tab, and the text',
                "scripts/split_data.py writes such files.",
            )
        found.texts.append(seen(text))
        found.labels.append(_CLASSES[label])
    if len(found.texts) < FEWEST:
        raise DataError(
            f"{path} has {len(found.texts)} messages",
            f"with fewer than {FEWEST} no figure of an audit says anything",
        )
    return found


def audit(run: Path, members: Known, others: Known, shadows: Sequence[Path]) -> Audit:
    """Attacks the last model in a run folder.

    Args:
        members: messages that were trained on. others: that were not.
        shadows: folders of runs of the same recipe that were trained on neither.

    Raises:
        UsageError: a message is in both, or a shadow's recipe is another one.
        StorageError: a run cannot be read.
    """
    if both := set(members.texts) & set(others.texts):
        raise UsageError(
            f"{len(both):,} messages are among those that were trained on and those that were not",
            next_step="Leave them out of both files.",
        )
    model = load(run)
    recipe = model.recipe
    texts = [*members.texts, *others.texts]
    labels = np.array([*members.labels, *others.labels])
    is_in = np.arange(len(texts)) < len(members.texts)
    sure = _margins(model, texts, labels)
    ratio = None
    if shadows:
        ratio = offline_likelihood(
            sure, np.stack([_margins(_shadow(one, model), texts, labels) for one in shadows])
        )
    moved = Update(recipe, model.state - initial_state(recipe, _seed_of(run)))
    own = words_of(members.texts)
    not_own = sorted(set(words_of(others.texts)) - set(own))
    words = [moved.words(Rows.of_words(some, recipe)) for some in (own, not_own)]
    pulled = moved.messages(Rows.of(texts, recipe), labels)
    if recipe.model.kind == "linear":
        pulled = -pulled  # the model went against the gradient
    guesses = 2 * max(1, int(GUESSED * len(texts) / 2))
    right = right_guesses(is_in, pulled, guesses)  # by one attack, whatever the others found
    return Audit(
        len(members.texts),
        len(others.texts),
        auc(*words) if min(map(len, words)) else 0.5,
        auc(pulled[is_in], pulled[~is_in]),
        auc(sure[is_in], sure[~is_in]),
        found_at(sure[is_in], sure[~is_in]),
        auc(ratio[is_in], ratio[~is_in]) if ratio is not None else None,
        found_at(ratio[is_in], ratio[~is_in]) if ratio is not None else None,
        len(shadows),
        right,
        guesses,
        at_least_epsilon(right, guesses, len(texts), DELTA),
        recipe.privacy.epsilon if recipe.is_private else None,
    )


def _shadow(run: Path, of: SavedModel) -> SavedModel:
    found = load(run)
    if found.recipe != of.recipe:
        raise UsageError(
            f"the shadow run {run} has another recipe",
            next_step="A shadow run is trained as the audited one was, on other messages.",
        )
    return found


def _margins(model: SavedModel, texts: Sequence[str], labels: Labels) -> Numbers:
    logits = scorer_of(model.recipe, model.state).logits(encode_all(texts, model.recipe.text))
    return margins(logits.astype(np.float64), labels)


def _seed_of(run: Path) -> int:
    """The seed that the run's first state was drawn with."""
    folder = run if run.is_dir() else run.parent
    try:
        return int(json.loads(read_bytes(folder / "settings.json"))["seed"])
    except (ValueError, KeyError, TypeError):
        raise UsageError(
            f"{folder} is no run folder",
            "settings.json does not say which seed the run began with",
        ) from None
