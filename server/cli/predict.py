"""`python -m server predict`: a saved model at work on messages of this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from server.cli.options import json_option, model_option, run_dir_option
from shared.cli import command
from shared.quoting import escaped, readable_json


@command(
    "predict",
    'python -m server predict "You have won a prize, call now"',
    "python -m server predict --json < messages.txt",
)
@click.argument("message", nargs=-1)
@model_option
@run_dir_option
@json_option
def predict(message: tuple[str, ...], model: Path | None, run_dir: Path, as_json: bool) -> None:
    """Classify a MESSAGE, or each line of standard input. Nothing leaves this machine."""
    from server.trained_model.prediction import Classifier, lines_as_they_come
    from server.trained_model.saved_model import open_model

    _, saved = open_model(model, run_dir)
    if not message and sys.stdin.isatty():
        click.echo("Type messages, one a line; Ctrl-D ends.", err=True)
    classifier = Classifier(saved)
    given = [os.fsencode(text).decode("utf-8", "replace") for text in message]
    for texts in [given] if given else lines_as_they_come(sys.stdin.buffer):
        for verdict in classifier.classify(texts):
            if as_json:
                click.echo(readable_json(verdict.as_dict()))
            else:
                click.echo(f"{verdict.label:<4}  {verdict.spam:.4f}  {escaped(verdict.text)}")
