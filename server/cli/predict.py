"""`python -m server predict`: a saved model at work on messages of this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from server.cli.options import json_option, model_option, run_dir_option
from shared.cli import command
from shared.quoting import escaped, readable_json

if TYPE_CHECKING:
    from server.trained_model.prediction import Verdict


@command(
    "predict",
    'python -m server predict "You have won a prize, call now"',
    "python -m server predict --json < messages.txt",
    "python -m server predict --file sms-20261122.xml",
)
@click.argument("message", nargs=-1)
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    help="A phone's backup (SMS Backup & Restore, its received messages), or a text with a "
    "message a line, in any encoding; also in .gz or .zip.",
)
@model_option
@run_dir_option
@json_option
def predict(
    message: tuple[str, ...], path: Path | None, model: Path | None, run_dir: Path, as_json: bool
) -> None:
    """Classify a MESSAGE, those of a file, or each line of standard input, on this machine."""
    from server.trained_model.prediction import Classifier
    from server.trained_model.saved_model import open_model
    from shared.errors import UsageError

    if message and path is not None:
        raise UsageError("messages and --file are both given", next_step="Give one of them.")
    folder, saved = open_model(model, run_dir)
    if model is None:
        click.echo(f"The newest model: {folder}", err=True)
    classifier = Classifier(saved)
    said = 0
    for texts in _batches(message, path):
        for verdict in classifier.classify(texts):
            _say(verdict, as_json)
            said += 1
    if not said:
        click.echo("There was no message to classify.", err=True)
    if classifier.unseen:
        click.echo(
            f"The model sees nothing of {classifier.unseen:,} of these {said:,} messages: its "
            "verdict on them is the same whatever they say.",
            err=True,
        )


def _batches(message: tuple[str, ...], path: Path | None) -> Iterator[list[str]]:
    from server.trained_model.prediction import lines_as_they_come, messages_of_file

    if message:
        yield [os.fsencode(text).decode("utf-8", "replace") for text in message]
    elif path is not None:
        yield from messages_of_file(path)
    elif sys.stdin is not None:  # closed by whoever started this, it is None
        if sys.stdin.isatty():
            click.echo("Type messages, one a line; Ctrl-D ends.", err=True)
        yield from lines_as_they_come(sys.stdin.buffer)


def _say(verdict: Verdict, as_json: bool) -> None:
    if as_json:
        click.echo(readable_json(verdict.as_dict()))
    else:
        click.echo(f"{verdict.label:<4}  {verdict.spam:.4f}  {escaped(verdict.text)}")
