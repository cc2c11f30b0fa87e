"""`python -m server predict`: a saved model at work on messages of this machine."""

from __future__ import annotations

from pathlib import Path

import click

from server.cli.options import json_option, model_option, run_dir_option
from shared.cli import command
from shared.trained_model.judging import (
    TEXT_COLUMN,
    Messages,
    add_column_option,
    file_option,
    judge,
    message_argument,
    threshold_option,
)


@command(
    "predict",
    'python -m server predict "You have won a prize, call now"',
    "python -m server predict --json < messages.txt",
    "python -m server predict --file sms-20261122.xml",
    "python -m server predict --format csv --text-column body < inbox.csv > judged.csv",
)
@message_argument
@file_option
@click.option(
    "--format",
    "table",
    type=click.Choice(["csv", "jsonl"]),
    help="Read a table, from standard input or --file, and write it with two columns more.",
)
@click.option(
    "--text-column", default=TEXT_COLUMN, show_default=True, help="The table's column of messages."
)
@add_column_option
@threshold_option
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
    from shared.trained_model.saved_model import open_model

    messages = Messages(message, path, table, text_column, add_column, as_json)
    messages.check()
    folder, saved = open_model(model, run_dir)
    if model is None:
        click.echo(f"The newest model: {folder}", err=True)
    judge(messages, saved, threshold)
