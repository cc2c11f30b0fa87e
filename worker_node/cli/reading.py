"""From the flags of the data owner's commands to rows, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker_node.data.messages import Message
    from worker_node.data.shard import Shard

SHOWN_ROWS = 5
SHOWN_CHARACTERS = 72
TRIED_ROWS = 5000
COMPARED_ROWS = 20_000


def read_shard(
    data: Path,
    held_out_data: Path | None,
    held_out: float,
    skip_bad_lines: bool,
    allow_one_class: bool,
    file_format: str | None,
    **layout: Any,
) -> Shard:
    """Raises DataError as owner_files and load_shard do."""
    from worker_node.data.folder import owner_files
    from worker_node.data.messages import Layout
    from worker_node.data.shard import load_shard

    data, held_out_data = owner_files(data, held_out_data)
    return load_shard(
        data,
        held_out_file=held_out_data,
        held_out_fraction=held_out,
        layout=Layout(format=file_format, **layout),  # type: ignore[arg-type]
        skip_bad_lines=skip_bad_lines,
        allow_one_class=allow_one_class,
    )


def skipped_lines(shard: Shard) -> list[str]:
    """What was skipped, a line a reason, and in capitals where it took more of one label."""
    lines = []
    for why, by_label in shard.skipped.items():
        labels = ", ".join(f"{count:,} {label}" for label, count in by_label.items())
        lines.append(f"skipped {sum(by_label.values()):,} rows: {why} ({labels})")
    if shard.lopsided():
        shares = [f"{share:.1%} OF THE {name.upper()}" for name, share in _shares(shard)]
        lines.append(
            f"WARNING: WHAT IS SKIPPED IS LOPSIDED: {' AND '.join(shares)}. A model trained on "
            "the rest does not know what is missing; mend the file, or name its --encoding."
        )
    return lines


def _shares(shard: Shard) -> list[tuple[str, float]]:
    return list(shard.skipped_shares().items())


def first_rows(shard: Shard) -> list[str]:
    """The first rows as the node sees them, a line each, for the owner's own terminal."""
    from shared.quoting import escaped

    def line(message: Message) -> str:
        text = escaped(" ".join(message.text.split()))
        cut = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
        return f"  {('ham', 'spam')[message.label]:<4}  {cut}"

    return [line(message) for message in shard.train[:SHOWN_ROWS]]


def what_recipes_see(shard: Shard) -> list[str]:
    """Of which messages the built-in recipes see little; of the first TRIED_ROWS."""
    from shared.model.coverage import coverage
    from shared.model.recipe import load_recipe
    from shared.model.text import encode_all

    texts = [message.text for message in shard.train[:TRIED_ROWS]]
    lines = []
    for name in ("default", "tutorial"):
        recipe = load_recipe(name).text
        words = recipe.model_copy(update={"ngrams": 0})
        found = coverage(encode_all(texts, words), words)
        lines += [line.replace("the recipe ", f"{name} ", 1) for line in found.remarks(recipe)]
    return lines


def near_held_out(shard: Shard) -> int:
    """Held-out rows that say almost the same as a row that is trained on, repeats included.

    0 where there are more than COMPARED_ROWS, which would take some seconds to compare.
    """
    from worker_node.data.near_duplicates import near_in

    if not shard.held_out or len(shard.train) + len(shard.held_out) > COMPARED_ROWS:
        return 0
    train, held_out = ([m.text for m in rows] for rows in (shard.train, shard.held_out))
    return near_in(held_out, train)


def near_lines(shard: Shard) -> list[str]:
    """A warning where measuring on the held-out rows flatters the model."""
    near = near_held_out(shard)
    if not near:
        return []
    among = f"{near:,} of {len(shard.held_out):,} held-out messages"
    return [f"{among} say almost the same as one that is trained on: metrics will flatter"]
