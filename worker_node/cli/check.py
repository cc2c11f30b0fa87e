"""`python -m worker_node check`: what a node would hold, and what it would tell a coordinator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from shared.cli import command
from shared.version import versions
from worker_node.cli.options import data_options
from worker_node.cli.reading import (
    first_rows,
    read_shard,
    skipped_lines,
    what_recipes_see,
)

if TYPE_CHECKING:
    from worker_node.data.shard import Shard


@command("check", "python -m worker_node check --data messages.tsv")
@data_options
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def check(hide_label_counts: bool, as_json: bool, **source: Any) -> None:
    """Say what a node would hold and tell, without serving."""
    click.echo(describe(read_shard(**source), not hide_label_counts, as_json))


_OF = {"message": "", "owner": " of you as an owner"}


def _costs() -> list[str]:
    """Of each private recipe that ships with fedsms."""
    from shared.model.recipe import BUILT_IN, load_recipe

    names = sorted(path.stem for path in BUILT_IN.glob("*.toml"))
    recipes = {name: load_recipe(name) for name in names}
    return [
        f"{name} epsilon {recipe.privacy.epsilon:g}{_OF[recipe.privacy.unit]}"
        for name, recipe in recipes.items()
        if recipe.is_private
    ]


def describe(shard: Shard, tell_labels: bool, as_json: bool) -> str:
    """For the owner's own eyes: counts, and each fact that the handshake tells."""
    from shared.model.text import tokeniser_fingerprint
    from worker_node.data.near_held_out import near_held_out, near_lines

    counts = shard.label_counts()
    repeated = shard.held_out_rows_trained_on()
    if as_json:
        facts = {
            "rows": {"train": len(shard.train), "held_out": len(shard.held_out)},
            "held_out_rows_scored": len(shard.scored),
            "labels": counts,
            "tells_labels": tell_labels,
            "reads": list(shard.described),
            "skipped": shard.skipped,
            "skipped_shares": shard.skipped_shares(),
            "held_out_rows_trained_on": repeated,
            "held_out_near_trained_on": near_held_out(shard).near,
            "versions": versions(),
            "tokeniser": tokeniser_fingerprint(),
        }
        return json.dumps(facts)
    lines = [*shard.described, "", *first_rows(shard), "", "This node would hold:"]
    lines += [
        f"  {part.replace('_', '-'):<9} {sum(labels.values()):>7,} messages: "
        f"{labels['ham']:,} ham, {labels['spam']:,} spam"
        for part, labels in counts.items()
    ]
    lines += [f"  {line}" for line in skipped_lines(shard)]
    lines += [f"  {line}" for line in (*what_recipes_see(shard), *near_lines(shard))]
    lines += [f"  {line}" for line in shard.scored_lines()]
    if repeated:
        lines.append(f"  {repeated:,} held-out messages are also trained on: metrics will flatter")
    told = "of them, ham and spam" if tell_labels else "ham and spam of the held-out ones alone"
    lines += [
        "A coordinator would be told:",
        f"  the numbers of messages, and {told}",
        *(["  which share of them was skipped"] if shard.skipped else []),
        "  versions: " + ", ".join(f"{name} {value}" for name, value in versions().items()),
        "It would get: models trained here, their training loss, and counts of scores by class.",
        f"Of a privacy budget, if the policy sets one, a run would cost: {', '.join(_costs())}.",
        "It would never get: a message, or which message has which label or score.",
    ]
    return "\n".join(lines)
