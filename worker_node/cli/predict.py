"""`python -m worker_node predict`: a model that a coordinator handed out, at work at home."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shared.cli import command, identity_option
from shared.errors import UsageError
from shared.quoting import escaped, readable_json
from shared.trained_model.judging import (
    TEXT_COLUMN,
    Messages,
    add_column_option,
    file_option,
    judge,
    message_argument,
    say_at_the_end,
    threshold_option,
    write,
)
from worker_node.cli.options import SOURCE, counts_option, models_option, own_data_options
from worker_node.cli.reading import read_shard, skipped_lines

if TYPE_CHECKING:
    from shared.trained_model.prediction import Classifier, Verdict
    from shared.trained_model.saved_model import SavedModel
    from worker_node.data.messages import Message
    from worker_node.data.shard import Shard


@command(
    "predict",
    'python -m worker_node predict "You have won a prize, call now"',
    "python -m worker_node predict --file sms-20261122.xml",
    "python -m worker_node predict --own-messages --data messages.tsv",
    "python -m worker_node predict --own --data messages.tsv",
)
@message_argument
@file_option
@click.option(
    "--own-messages",
    is_flag=True,
    help="Classify all messages of --data, and say how each is labelled there.",
)
@click.option(
    "--own",
    is_flag=True,
    help="List those messages of --data alone whose label and verdict disagree, the most "
    "confident verdict first.",
)
@threshold_option
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    envvar="FEDSMS_MODEL",
    show_envvar=True,
    help="A folder with model.safetensors and config.json.  [default: the newest in --models]",
)
@models_option
@identity_option
@counts_option
@own_data_options
@click.option(
    "--table",
    type=click.Choice(["csv", "jsonl"]),
    help="Read a table, from standard input or --file, and write it with two columns more; its "
    f"texts are in --text-column, by default {TEXT_COLUMN}.",
)
@add_column_option
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def predict(
    message: tuple[str, ...],
    path: Path | None,
    own_messages: bool,
    own: bool,
    threshold: float,
    model: Path | None,
    models: Path | None,
    identity: Path,
    counts: Path | None,
    table: str | None,
    add_column: str,
    as_json: bool,
    **source: Any,
) -> None:
    """Classify a MESSAGE, those of a file, or your own ones, with a model that you were handed.

    Everything happens on this machine: no coordinator learns that you asked, or what.
    """
    text_column = source["text_column"] or TEXT_COLUMN
    messages = Messages(message, path, table, text_column, add_column, as_json)
    is_own = own or own_messages
    _check(messages, is_own, source)
    saved = _open(model, models or _kept_in(identity, counts))
    if not is_own:
        judge(messages, saved, threshold)
        return
    shard = read_shard(**{name: source[name] for name in SOURCE})
    for line in skipped_lines(shard):
        click.echo(line, err=True)
    _judge_own(shard, saved, threshold, only_disagreeing=own, as_json=as_json)


def _check(messages: Messages, is_own: bool, source: dict[str, Any]) -> None:
    """Raises UsageError where it is not clear what is to be classified."""
    if is_own and (messages.texts or messages.path is not None or messages.table):
        raise UsageError(
            "the owner's messages and others are both asked for",
            next_step="Give --own-messages or --own alone, or leave them away.",
        )
    if is_own and source["data"] is None:
        raise UsageError(
            "it is not said where the owner's messages are",
            next_step="Name them with --data, as for serve.",
        )
    messages.check()


def _kept_in(identity: Path, counts: Path | None) -> Path:
    from worker_node.guarding.set_up import COUNTS, models_beside

    return models_beside(counts or identity / COUNTS)


def _open(model: Path | None, models: Path) -> SavedModel:
    """The model; says on standard error which one it is, and where it is from."""
    from worker_node.guarding.kept_models import open_kept

    folder, saved, config = open_kept(model, models)
    if model is None:
        click.echo(f"The newest model: {folder}", err=True)
    if "coordinator" in config and "run" in config:
        measured = "" if config.get("measured_here") else "; this node did not measure it"
        run = f"round {config.get('round')} of run {config['run']}"
        click.echo(
            escaped(f"Handed out by {config['coordinator']} after {run}{measured}"), err=True
        )
    return saved


@dataclass(frozen=True)
class _Own:
    """One of the owner's messages.

    part: "train" or "held-out". label: the owner's. verdict: the model's.
    """

    part: str
    label: str
    verdict: Verdict

    @property
    def agrees(self) -> bool:
        return self.label == self.verdict.label

    def line(self, as_json: bool) -> str:
        verdict = self.verdict
        if not as_json:
            said = f"{verdict.label:<4}  {verdict.spam:.4f}  labelled {self.label:<4}"
            return f"{said}  {escaped(verdict.text)}"
        told = {**verdict.as_dict(), "spam": round(verdict.spam, 6)}
        return readable_json({**told, "own_label": self.label, "part": self.part})


def _judge_own(
    shard: Shard, saved: SavedModel, threshold: float, *, only_disagreeing: bool, as_json: bool
) -> None:
    from shared.trained_model.prediction import Classifier

    classifier = Classifier(saved, threshold)
    said: Counter[str] = Counter()
    disagreeing: list[_Own] = []
    for batch in _own_batches(shard, classifier):
        said.update(one.verdict.label for one in batch)
        disagreeing += [one for one in batch if not one.agrees]
        if not only_disagreeing:
            write([one.line(as_json) for one in batch])
    if only_disagreeing:
        disagreeing.sort(key=lambda one: -abs(one.verdict.spam - threshold))
        write([one.line(as_json) for one in disagreeing])
    say_at_the_end(said, classifier.unseen, threshold, counts=True)
    spam = sum(one.verdict.label == "spam" for one in disagreeing)
    click.echo(
        f"Label and model disagree on {len(disagreeing):,}: {spam:,} called spam and labelled ham, "
        f"{len(disagreeing) - spam:,} called ham and labelled spam",
        err=True,
    )


def _own_batches(shard: Shard, classifier: Classifier) -> Iterator[list[_Own]]:
    from shared.trained_model.prediction import BATCH_ROWS, seen
    from worker_node.data.labels import label_name

    parts: tuple[tuple[str, Any], ...] = (("train", shard.train), ("held-out", shard.held_out))
    for part, rows in parts:
        for start in range(0, len(rows), BATCH_ROWS):
            some: list[Message] = list(rows[start : start + BATCH_ROWS])
            verdicts = classifier.classify([seen(row.text) for row in some])
            yield [
                _Own(part, label_name(row.label), verdict)
                for row, verdict in zip(some, verdicts, strict=True)
            ]
