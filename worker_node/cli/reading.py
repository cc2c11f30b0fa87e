"""From the flags of the data owner's commands to rows, and what is said of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from worker_node.data.messages import Message
    from worker_node.data.shard import Shard

SHOWN_ROWS = 5
SHOWN_CHARACTERS = 72
TRIED_ROWS = 5000


def read_shard(
    data: Path,
    held_out_data: Path | None,
    held_out: float,
    skip_bad_lines: bool,
    allow_one_class: bool,
    file_format: str | None,
    most_megabytes: int,
    **layout: Any,
) -> Shard:
    """Raises DataError as owner_files and load_shard do."""
    from worker_node.data.folder import owner_files
    from worker_node.data.messages import Layout
    from worker_node.data.shard import load_shard

    data, held_out_data = owner_files(data, held_out_data)
    on_terminal = sys.stderr.isatty()
    try:
        return load_shard(
            data,
            held_out_file=held_out_data,
            held_out_fraction=held_out,
            layout=Layout(format=file_format, most_bytes=most_megabytes * 2**20, **layout),  # type: ignore[arg-type]
            skip_bad_lines=skip_bad_lines,
            allow_one_class=allow_one_class,
            on_rows=_show_rows if on_terminal else _show_nothing,
        )
    finally:
        if on_terminal:
            click.echo(_CLEARED, err=True, nl=False)


_CLEARED = "\r\x1b[K"
"""Has a terminal write the line that it is in anew."""


def _show_rows(rows: int) -> None:
    """How far a reading is, always in the same line."""
    click.echo(f"{_CLEARED}reads messages: {rows:,} rows", err=True, nl=False)


def _show_nothing(_: int) -> None:
    """A log needs no more than what was read in the end."""


def skipped_lines(shard: Shard) -> list[str]:
    """What was skipped, a line a reason, and in capitals where it took more of one label."""
    from shared.reading.lopsided import is_lopsided

    lines = []
    for why, by_label in shard.skipped.items():
        labels = ", ".join(f"{count:,} {label}" for label, count in by_label.items())
        lines.append(f"skipped {sum(by_label.values()):,} rows: {why} ({labels})")
    if is_lopsided(found := shard.skipped_shares()):
        shares = [f"{share:.1%} OF THE {name.upper()}" for name, share in found.items()]
        lines.append(
            f"WARNING: WHAT IS SKIPPED IS LOPSIDED: {' AND '.join(shares)}. A model trained on "
            "the rest does not know what is missing; mend the file, or name its --encoding."
        )
    return lines


def first_rows(shard: Shard) -> list[str]:
    """The first rows as the node sees them, a line each, for the owner's own terminal."""
    from shared.quoting import escaped
    from worker_node.data.labels import label_name

    def line(message: Message) -> str:
        text = escaped(" ".join(message.text.split()))
        cut = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
        return f"  {label_name(message.label):<4}  {cut}"

    return [line(message) for message in shard.train[:SHOWN_ROWS]]


def what_recipes_see(shard: Shard) -> list[str]:
    """Of which messages the built-in recipes see little; of the first TRIED_ROWS."""
    from shared.model.coverage import coverage
    from shared.model.many_texts import encode_all
    from shared.model.recipe import load_recipe

    texts = [message.text for message in shard.train[:TRIED_ROWS]]
    lines = []
    for name in ("default", "tutorial"):
        recipe = load_recipe(name).text
        words = recipe.model_copy(update={"ngrams": 0})
        found = coverage(encode_all(texts, words), words)
        lines += [line.replace("the recipe ", f"{name} ", 1) for line in found.remarks(recipe)]
    return lines
