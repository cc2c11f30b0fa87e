"""`python -m server predict`: a saved model at work on messages of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from server.cli.options import (
    federation_option,
    insecure_option,
    json_option,
    model_option,
    node_option,
    run_dir_option,
)
from shared.cli import command, identity_option
from shared.errors import UsageError
from shared.trained_model.judging import (
    TEXT_COLUMN,
    Messages,
    add_column_option,
    file_option,
    judge,
    message_argument,
    threshold_option,
)

if TYPE_CHECKING:  # it loads torch
    from server.encrypted.predicting import SealedScores


@command(
    "predict",
    'python -m server predict "You have won a prize, call now"',
    "python -m server predict --json < messages.txt",
    "python -m server predict --file sms-20261122.xml",
    "python -m server predict --format csv --text-column body < inbox.csv > judged.csv",
    'python -m server predict --encrypted "You have won" --node bob=wss://10.0.0.7:8777 \\\n'
    "      --node anne=wss://10.0.0.8:8777 --node carol=wss://10.0.0.9:8777",
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
@click.option(
    "--encrypted",
    is_flag=True,
    help="Compute on shares: the first two nodes hold them, the third makes random numbers, and "
    "none of them sees model, messages or verdicts.",
)
@click.option(
    "--messages-of",
    metavar="NODE",
    help="With --encrypted: score the held-out messages of this node's owner instead, which leave "
    "it as sealed shares. The owner learns the scores, and you do where the owner tells them.",
)
@click.option(
    "--most",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="With --messages-of: how many messages, the first ones.",
)
@federation_option
@node_option
@identity_option
@insecure_option
@json_option
@click.pass_context
def predict(
    ctx: click.Context,
    message: tuple[str, ...],
    path: Path | None,
    table: str | None,
    text_column: str,
    add_column: str,
    threshold: float,
    model: Path | None,
    run_dir: Path,
    encrypted: bool,
    messages_of: str | None,
    most: int,
    node: tuple[str, ...],
    identity: Path,
    insecure: bool,
    as_json: bool,
) -> None:
    """Classify a MESSAGE, those of a file, or each line of standard input.

    On this machine alone, but for --encrypted. docs/encrypted.md says what that protects.
    """
    from shared.trained_model.saved_model import open_model

    if messages_of is None:
        _check_nodes(ctx, encrypted, node)
    messages = Messages(message, path, table, text_column, add_column, as_json)
    messages.check()
    if messages_of is not None:
        _check_messages_of(messages, encrypted)
    folder, saved = open_model(model, run_dir)
    if model is None:
        click.echo(f"The newest model: {folder}", err=True)
    if not encrypted:
        judge(messages, saved, threshold)
        return
    from server.encrypted.predicting import sealed_prediction, shared_prediction

    if messages_of is not None:
        told = sealed_prediction(saved, node, messages_of, most, identity, insecure)
        _say_scores(told, messages_of, threshold, as_json)
        return
    with shared_prediction(saved, node, identity, insecure) as prediction:
        judge(messages, saved, threshold, prediction)
        cost = prediction.cost
    click.echo(f"Computed on shares: {cost}", err=True)


def _say_scores(told: SealedScores, owner: str, threshold: float, as_json: bool) -> None:
    """A line for each score that the owner told, and what it cost on standard error."""
    from shared.quoting import readable_json

    for number, spam in enumerate(told.spam or (), 1):
        label = "spam" if spam >= threshold else "ham"
        values = {"message": number, "label": label, "spam": spam}
        click.echo(readable_json(values) if as_json else f"{label:<4}  {spam:.3f}  {number}")
    whom = "which does not tell them" if told.spam is None else "in thousandths here too"
    click.echo(f"Node {owner} has {told.rows:,} scores, {whom}: {told.cost}", err=True)


def _check_messages_of(messages: Messages, encrypted: bool) -> None:
    """Raises UsageError where other messages are given as well, or they would not be shared."""
    if not encrypted:
        raise UsageError(
            "--messages-of is for --encrypted alone", next_step="Give --encrypted with it."
        )
    if messages.texts or messages.path is not None or messages.table:
        raise UsageError(
            "--messages-of and other messages are both given", next_step="Give one of them."
        )


def _check_nodes(ctx: click.Context, encrypted: bool, nodes: tuple[str, ...]) -> None:
    """Raises UsageError for nodes that nothing would be done with, or that cannot do it."""
    if encrypted:
        from server.encrypted.predicting import check_three

        check_three(nodes)
    elif nodes and ctx.get_parameter_source("node") is click.core.ParameterSource.COMMANDLINE:
        raise UsageError(
            "--node is given, and predicting takes none",
            next_step="With --encrypted three of them compute on shares; see docs/encrypted.md.",
        )
