"""What both sides' `predict` does: messages in, verdicts out, as text, as JSON or in a table.

Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from shared.errors import UsageError
from shared.quoting import escaped, readable_json

if TYPE_CHECKING:
    from shared.trained_model.prediction import Classifier, Scores, Verdict
    from shared.trained_model.saved_model import SavedModel
    from shared.trained_model.tables import Format


TEXT_COLUMN = "text"

message_argument = click.argument("message", nargs=-1)
file_option = click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    help="A phone's backup (SMS Backup & Restore, its received messages), or a text with a "
    "message a line, in any encoding; also in .gz or .zip.",
)
add_column_option = click.option(
    "--add-column",
    default="predicted",
    show_default=True,
    metavar="NAME",
    help="The new column, ham or spam; the probability of spam goes into NAME_score.",
)
threshold_option = click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="The probability from which on a message is called spam.",
)


@dataclass(frozen=True)
class Messages:
    """Which messages are to be classified, and what is written.

    texts: given as they are. path: or a file of them; with neither, lines of standard input.
    table: or a table of this format, from the file or standard input. text_column: its texts'.
    added: the column that its verdicts get. as_json: writes an object a line, not a table.
    """

    texts: tuple[str, ...] = ()
    path: Path | None = None
    table: str | None = None
    text_column: str = TEXT_COLUMN
    added: str = "predicted"
    as_json: bool = False

    def check(self) -> None:
        """Raises UsageError where two of them are given of which one must do."""
        if self.texts and self.path is not None:
            raise UsageError("messages and --file are both given", next_step="Give one of them.")
        if self.table and (self.texts or self.as_json):
            other = "messages" if self.texts else "--json"
            raise UsageError(f"--format and {other} are both given", next_step="Give one of them.")


def judge(
    messages: Messages, saved: SavedModel, threshold: float, scorer: Scores | None = None
) -> None:
    """Writes a verdict for each message on standard output, and their counts on standard error.

    Args:
        threshold: the probability from which on a message is called spam, 0 to 1.
        scorer: what gives the model's logits; None computes them here.

    Raises:
        DataError: they cannot be read, or are damaged.
    """
    from shared.trained_model.prediction import Classifier

    classifier = Classifier(saved, threshold, scorer)
    answer = _judge_table if messages.table else _judge
    said = answer(messages, classifier)
    say_at_the_end(said, classifier.unseen, threshold, counts=not messages.texts)


def _judge(messages: Messages, classifier: Classifier) -> Counter[str]:
    said: Counter[str] = Counter()
    for texts in _batches(messages):
        verdicts = classifier.classify(texts)
        said.update(verdict.label for verdict in verdicts)
        write([told(verdict, messages.as_json) for verdict in verdicts])
    return said


def _judge_table(messages: Messages, classifier: Classifier) -> Counter[str]:
    from shared.trained_model.tables import KINDS

    kind = KINDS[cast("Format", messages.table)]
    rows = kind(_lines(messages.path), messages.text_column, messages.added)
    said: Counter[str] = Counter()
    shown = escaped if sys.stdout.isatty() else str
    for texts, batch in rows.batches():
        head = rows.head() if not said else None
        verdicts = classifier.classify(texts)
        said.update(verdict.label for verdict in verdicts)
        written = [rows.written(*both) for both in zip(batch, verdicts, strict=True)]
        write([shown(line) for line in ([head] if head else []) + written])
    return said


def say_at_the_end(said: Counter[str], unseen: int, threshold: float, counts: bool) -> None:
    """How many were called what, and of how many the model saw nothing, on standard error."""
    number = said.total()
    if not number:
        click.echo("There was no message to classify.", err=True)
    if unseen:
        click.echo(
            f"The model sees nothing of {unseen:,} of these {number:,} messages: its "
            "verdict on them is the same whatever they say.",
            err=True,
        )
    if number and counts:
        at = "" if threshold == 0.5 else f" from {threshold:g} on"
        click.echo(f"{number:,} messages: {said['spam']:,} spam{at}, {said['ham']:,} ham", err=True)


def _batches(messages: Messages) -> Iterator[list[str]]:
    from shared.trained_model.prediction import in_batches, messages_of_file

    if messages.texts:
        yield from in_batches(messages.texts)
    elif messages.path is not None:
        yield from messages_of_file(messages.path)
    else:
        yield from _lines(None)


def _lines(path: Path | None) -> Iterator[list[str]]:
    from shared.trained_model.prediction import lines_as_they_come, lines_of_file

    if path is not None:
        yield from lines_of_file(path)
    elif sys.stdin is not None:  # closed by whoever started this, it is None
        if sys.stdin.isatty():
            click.echo("Type messages, one a line; Ctrl-D ends.", err=True)
        yield from lines_as_they_come(sys.stdin.buffer)


def told(verdict: Verdict, as_json: bool) -> str:
    """A line for one verdict, safe to read on a terminal."""
    if as_json:
        return readable_json({**verdict.as_dict(), "spam": round(verdict.spam, 6)})
    return f"{verdict.label:<4}  {verdict.spam:.4f}  {escaped(verdict.text)}"


def write(lines: list[str]) -> None:
    """Writes them on standard output, if there are any."""
    if lines:
        click.echo("\n".join(lines))
