"""Deals a collection of messages out to several owners, to train on and to hold out.

For trying fedsms out on one machine: real owners bring their own files. Writes NAME.train.tsv and
NAME.held-out.tsv for every owner (with quotes, as CSV has them, where a text has a line break) and
split.json, which says how they were made. Repeated texts
(equal character by character) are removed first, but not for the article's partition, which kept
them; the table's last column counts the held-out rows whose text somebody also trains on. See
scripts/data/partition.py for the partitions.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from scripts.data.partition import Partition, deal, deduplicate, deduplicate_near
from scripts.fetch_data import find_data
from server.display.fitting import Column, Fitted, print_table
from shared.cli import ExamplesFirst, run
from shared.errors import UsageError
from shared.files import storage_error, write_whole
from worker_node.data.labels import label_name
from worker_node.data.shard import Message, Shard, read_messages

Remove = Literal["exact", "near", "none"]
NAMES = ("bob", "anne", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy")
MANIFEST = "split.json"
_OURS = (".train.tsv", ".held-out.tsv")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def owner_names(count: int) -> list[str]:
    """bob, anne, carol, ... and from the eleventh on owner-11, owner-12, ..."""
    return [*NAMES[:count], *(f"owner-{number}" for number in range(len(NAMES) + 1, count + 1))]


def split_data(
    data: Path,
    out: Path,
    owners: Sequence[str],
    *,
    partition: Partition = "article",
    alpha: float = 0.3,
    seed: int = 0,
    remove: Remove | None = None,
    keep_together: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Splits a file of messages and writes the owners' files.

    Args:
        data: any format that worker_node/data/messages.py reads.
        out: a folder; made if it is not there.
        owners: their names, all different.
        alpha: concentration of the Dirichlet partition, above 0.
        remove: "exact" keeps the first message of every text, "near" the first of every group of
            near-duplicates, "none" all; None is exact, but none for the article's partition.
        keep_together: near-duplicates are never on both sides.
        force: replaces an earlier split in `out`; files that are not ours stop it all the same.

    Returns:
        What is written to split.json: settings, and the rows of every owner.

    Raises:
        UsageError, DataError, StorageError; nothing was changed in case of the first two.
    """
    _check_owners(owners)
    earlier = _earlier_split(out, force)
    messages: Sequence[Message] = read_messages(data).messages
    rows = len(messages)
    remove = remove or ("none" if partition == "article" else "exact")
    if remove != "none":
        messages = deduplicate(messages)
    repeats = rows - len(messages)
    if remove == "near":
        messages = deduplicate_near(messages)
    how = {"seed": seed, "alpha": alpha, "keep_together": keep_together}
    dealt = deal(messages, len(owners), partition, **how)  # type: ignore[arg-type]
    shards = dict(zip(owners, dealt, strict=True))
    manifest: dict[str, Any] = {
        "sha256_of_data": hashlib.sha256(data.read_bytes()).hexdigest(),
        "rows_of_data": rows,
        "partition": partition,
        "alpha": alpha if partition == "dirichlet" else None,
        "seed": None if partition == "article" else seed,
        "repeats_removed": repeats,
        "near_duplicates_removed": rows - repeats - len(messages),
        "near_duplicates_kept_together": keep_together,
        "owners": _describe(shards),
    }
    _write(out, shards, manifest, earlier)
    return manifest


def _describe(shards: Mapping[str, Shard]) -> dict[str, dict[str, Any]]:
    trained_on = {message.text for shard in shards.values() for message in shard.train}
    return {
        name: {
            **shard.label_counts(),
            "held_out_texts_trained_on": sum(m.text in trained_on for m in shard.held_out),
        }
        for name, shard in shards.items()
    }


def _check_owners(owners: Sequence[str]) -> None:
    if not owners:
        raise UsageError("there is no owner", next_step="Name at least one.")
    for name in owners:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot be an owner's name",
                "it becomes part of a file's name",
                "Use letters, digits, - and _, and begin with a letter or digit.",
            )
    if len({name.lower() for name in owners}) < len(owners):
        raise UsageError(f"owners have the same name: {', '.join(owners)}")


def _earlier_split(out: Path, force: bool) -> list[Path]:
    """The files of an earlier split in the folder, which may be replaced."""
    try:
        found = sorted(out.iterdir()) if out.exists() else []
    except OSError as error:
        raise storage_error("use the folder", out, error) from error
    foreign = [
        path.name for path in found if not path.name.endswith(_OURS) and path.name != MANIFEST
    ]
    if foreign:
        raise UsageError(
            f"{out} holds other files",
            ", ".join(foreign[:3]),
            "Name an empty or new folder with --out.",
        )
    if found and not force:
        raise UsageError(
            f"{out} holds an earlier split",
            next_step="Replace it with --force, or name another --out.",
        )
    return found


def _write(
    out: Path, shards: Mapping[str, Shard], manifest: dict[str, Any], earlier: Sequence[Path]
) -> None:
    files = {
        f"{name}{ending}": _to_tsv(rows)
        for name, shard in shards.items()
        for ending, rows in zip(_OURS, (shard.train, shard.held_out), strict=True)
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        # without its manifest, a folder that was left half-written cannot be taken for whole
        for path in earlier:
            if path.name not in files:
                path.unlink()
    except OSError as error:
        raise storage_error("write to", out, error) from error
    for name, content in files.items():
        write_whole(out / name, content)
    write_whole(out / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())


def _to_tsv(messages: Sequence[Message]) -> bytes:
    if any("\n" in message.text or "\r" in message.text for message in messages):
        out = io.StringIO()
        rows = ((label_name(message.label), message.text) for message in messages)
        csv.writer(out, delimiter="\t").writerows(rows)
        return out.getvalue().encode()
    return "".join(f"{label_name(m.label)}\t{m.text}\n" for m in messages).encode()


def split_table(manifest: dict[str, Any]) -> Fitted:
    owners: dict[str, dict[str, Any]] = manifest["owners"]
    columns = [Column("owner", list(owners))]
    for part, name in (("train", "train"), ("held_out", "held out")):
        sums = [sum(rows[part].values()) for rows in owners.values()]
        spam = [rows[part]["spam"] for rows in owners.values()]
        columns += [Column(name, [f"{n:,}" for n in sums], right=True)]
        columns += [Column("spam", [f"{n:,}" for n in spam], right=True)]
    shared = [f"{rows['held_out_texts_trained_on']:,}" for rows in owners.values()]
    return Fitted("", [*columns, Column("also trained on", shared, "also\ntrained on", right=True)])


@click.command(
    cls=ExamplesFirst,
    examples=(
        "python scripts/split_data.py",
        "python scripts/split_data.py --owner bob --owner anne --partition iid --seed 7",
        "python scripts/split_data.py --owners 8 --partition dirichlet --alpha 0.3 --out data",
    ),
    help=__doc__,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--data", type=click.Path(path_type=Path), help="Default: see scripts/fetch_data.py.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("data"), show_default=True)
@click.option("--owners", "count", type=click.IntRange(1, 10_000), help="How many. Default: 2.")
@click.option("--owner", "names", multiple=True, help="One owner's name; give it once an owner.")
@click.option(
    "--partition", type=click.Choice(get_args(Partition)), default="article", show_default=True
)
@click.option("--alpha", type=click.FloatRange(0.01, 1e6), default=0.3, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--deduplicate",
    "remove",
    type=click.Choice(get_args(Remove)),
    is_flag=False,
    flag_value="exact",
    help="near: also what says the same in almost the same words.  Default: exact, none for "
    "article.",
)
@click.option("--no-deduplicate", "remove", flag_value="none", hidden=True)
@click.option(
    "--keep-together", is_flag=True, help="Near-duplicates never on both sides; with iid."
)
@click.option("--force", is_flag=True, help="Replace an earlier split in the folder.")
@click.option("--json", "as_json", is_flag=True, help="Print what split.json holds.")
def main(
    data: Path | None,
    out: Path,
    count: int | None,
    names: tuple[str, ...],
    partition: Partition,
    alpha: float,
    seed: int,
    remove: Remove | None,
    keep_together: bool,
    force: bool,
    as_json: bool,
) -> None:
    if count and names:
        raise UsageError("--owners and --owner are both given", next_step="Give one of them.")
    manifest = split_data(
        find_data(data),
        out,
        list(names) or owner_names(count or 2),
        partition=partition,
        alpha=alpha,
        seed=seed,
        remove=remove,
        keep_together=keep_together,
        force=force,
    )
    if as_json:
        click.echo(json.dumps(manifest, indent=2))
    else:
        print_table(split_table(manifest))


if __name__ == "__main__":
    run(main, "python scripts/split_data.py")
