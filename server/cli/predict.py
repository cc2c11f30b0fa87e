"""`python -m server predict`: a saved model at work on messages of this machine."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from server.cli.options import json_option, model_option, run_dir_option
from shared.cli import command
from shared.errors import UsageError
from shared.quoting import escaped, readable_json

if TYPE_CHECKING:
    from server.trained_model.prediction import Classifier, Verdict
    from server.trained_model.tables import Format


@command(
    "predict",
    'python -m server predict "You have won a prize, call now"',
    "python -m server predict --json < messages.txt",
    "python -m server predict --file sms-20261122.xml",
    "python -m server predict --format csv --text-column body < inbox.csv > judged.csv",
)
@click.argument("message", nargs=-1)
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    help="A phone's backup (SMS Backup & Restore, its received messages), or a text with a "
    "message a line, in any encoding; also in .gz or .zip.",
)
@click.option(
    "--format",
    "table",
    type=click.Choice(["csv", "jsonl"]),
    help="Read a table, from standard input or --file, and write it with two columns more.",
)
@click.option(
    "--text-column", default="text", show_default=True, help="The table's column of messages."
)
@click.option(
    "--add-column",
    default="predicted",
    show_default=True,
    metavar="NAME",
    help="The new column, ham or spam; the probability of spam goes into NAME_score.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="The probability from which on a message is called spam.",
)
@model_option
@run_dir_option
@json_option
def predict(
    message: tuple[str, ...],
    path: Path | None,
    table: str | None,
    text_column: str,
    add_column: str,
    threshold: float,
    model: Path | None,
    run_dir: Path,
    as_json: bool,
) -> None:
    """Classify a MESSAGE, those of a file, or each line of standard input, on this machine."""
    from server.trained_model.prediction import Classifier
    from server.trained_model.saved_model import open_model

    if message and path is not None:
        raise UsageError("messages and --file are both given", next_step="Give one of them.")
    if table and (message or as_json):
        other = "messages" if message else "--json"
        raise UsageError(f"--format and {other} are both given", next_step="Give one of them.")
    folder, saved = open_model(model, run_dir)
    if model is None:
        click.echo(f"The newest model: {folder}", err=True)
    classifier = Classifier(saved, threshold)
    if table:
        said = _judge_table(table, _lines(path), classifier, text_column, add_column)
    else:
        said = _judge(_batches(message, path), classifier, as_json)
    _say_at_the_end(said, classifier.unseen, threshold, counts=not message)


def _judge(batches: Iterator[list[str]], classifier: Classifier, as_json: bool) -> Counter[str]:
    said: Counter[str] = Counter()
    for texts in batches:
        verdicts = classifier.classify(texts)
        said.update(verdict.label for verdict in verdicts)
        _write([_told(verdict, as_json) for verdict in verdicts])
    return said


def _judge_table(
    kind: str, lines: Iterator[list[str]], classifier: Classifier, text: str, added: str
) -> Counter[str]:
    from server.trained_model.tables import KINDS

    rows = KINDS[cast("Format", kind)](lines, text, added)
    said: Counter[str] = Counter()
    shown = escaped if sys.stdout.isatty() else str
    for texts, batch in rows.batches():
        head = rows.head() if not said else None
        verdicts = classifier.classify(texts)
        said.update(verdict.label for verdict in verdicts)
        written = [rows.written(*both) for both in zip(batch, verdicts, strict=True)]
        _write([shown(line) for line in ([head] if head else []) + written])
    return said


def _say_at_the_end(said: Counter[str], unseen: int, threshold: float, counts: bool) -> None:
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


def _batches(message: tuple[str, ...], path: Path | None) -> Iterator[list[str]]:
    from server.trained_model.prediction import in_batches, messages_of_file

    if message:
        yield from in_batches(message)
    elif path is not None:
        yield from messages_of_file(path)
    else:
        yield from _lines(None)


def _lines(path: Path | None) -> Iterator[list[str]]:
    from server.trained_model.prediction import lines_as_they_come, lines_of_file

    if path is not None:
        yield from lines_of_file(path)
    elif sys.stdin is not None:  # closed by whoever started this, it is None
        if sys.stdin.isatty():
            click.echo("Type messages, one a line; Ctrl-D ends.", err=True)
        yield from lines_as_they_come(sys.stdin.buffer)


def _told(verdict: Verdict, as_json: bool) -> str:
    if as_json:
        return readable_json({**verdict.as_dict(), "spam": round(verdict.spam, 6)})
    return f"{verdict.label:<4}  {verdict.spam:.4f}  {escaped(verdict.text)}"


def _write(lines: list[str]) -> None:
    if lines:
        click.echo("\n".join(lines))
