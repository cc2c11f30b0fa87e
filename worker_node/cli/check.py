"""`python -m worker_node check`: what a node would hold, and what it would tell a coordinator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shared.cli import command
from shared.version import versions
from worker_node.cli.options import data_options

if TYPE_CHECKING:
    from worker_node.data.shard import Shard


@command("check", "python -m worker_node check --data messages.tsv")
@data_options
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def check(hide_label_counts: bool, as_json: bool, **source: Any) -> None:
    """Say what a node would hold and tell, without serving."""
    click.echo(describe(read_shard(**source), not hide_label_counts, as_json))


def read_shard(
    data: Path,
    held_out_data: Path | None,
    held_out: float,
    skip_bad_lines: bool,
    allow_one_class: bool,
) -> Shard:
    """Raises DataError as owner_files and load_shard do."""
    from worker_node.data.folder import owner_files
    from worker_node.data.shard import load_shard

    data, held_out_data = owner_files(data, held_out_data)
    return load_shard(
        data,
        held_out_file=held_out_data,
        held_out_fraction=held_out,
        skip_bad_lines=skip_bad_lines,
        allow_one_class=allow_one_class,
    )


def describe(shard: Shard, tell_labels: bool, as_json: bool) -> str:
    """For the owner's own eyes: counts, and each fact that the handshake tells."""
    from shared.model.text import tokeniser_fingerprint

    counts = shard.label_counts()
    repeated = shard.held_out_rows_trained_on()
    if as_json:
        facts = {
            "rows": {"train": len(shard.train), "held_out": len(shard.held_out)},
            "labels": counts,
            "tells_labels": tell_labels,
            "skipped": dict(shard.skipped),
            "held_out_rows_trained_on": repeated,
            "versions": versions(),
            "tokeniser": tokeniser_fingerprint(),
        }
        return json.dumps(facts)
    lines = ["This node would hold:"]
    lines += [
        f"  {part.replace('_', '-'):<9} {sum(labels.values()):>7,} messages: "
        f"{labels['ham']:,} ham, {labels['spam']:,} spam"
        for part, labels in counts.items()
    ]
    lines += [f"  skipped   {count:>7,} lines: {why}" for why, count in shard.skipped.items()]
    if repeated:
        lines.append(f"  {repeated:,} held-out messages are also trained on: metrics will flatter")
    told = "of them, ham and spam" if tell_labels else "ham and spam of the held-out ones alone"
    lines += [
        "A coordinator would be told:",
        f"  the numbers of messages, and {told}",
        "  versions: " + ", ".join(f"{name} {value}" for name, value in versions().items()),
        "It would get: models trained here, their training loss, and counts of scores by class.",
        "It would never get: a message, or which message has which label or score.",
    ]
    return "\n".join(lines)
