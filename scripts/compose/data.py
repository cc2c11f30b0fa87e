"""Deals the SMS Spam Collection out to the owners of one machine's containers, each a folder.

What `docker compose up` runs in its `data` service. Every owner gets messages.tsv, held-out.tsv and
split.json, which says how they were made, in a volume of its own. A second call with the same
settings changes nothing; with others it deals again, and says so. An owner takes no part whose
variable NAME_DATA is set (BOB_DATA for bob): it names that owner's own messages.

Started as root, it takes the folders over for the nodes' user and goes on as that user.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, not as a module

from scripts.compose.owner_folders import NODE_UID, become, hand_over, owner_option, owners_of
from scripts.data.partition import Partition
from scripts.fetch_data import Source, find_data
from scripts.split_data import MANIFEST, split_data, split_table
from server.display.fitting import print_table
from shared.cli import HELP, ExamplesFirst, run
from shared.files import storage_error, write_whole
from worker_node.data.folder import HELD_OUT, MESSAGES

FILES = {"train": f"{MESSAGES}.tsv", "held-out": f"{HELD_OUT}.tsv"}


def deal_out(
    folders: Mapping[str, Path], collection: Path, partition: Partition, *, seed: int, alpha: float
) -> bool:
    """Gives every owner its part of a collection, unless all have it.

    Args:
        folders: owner -> where its files go.

    Returns:
        False where nothing had to be done.

    Raises:
        UsageError, DataError, StorageError: as split_data does.
    """
    settings = {
        "sha256_of_data": hashlib.sha256(collection.read_bytes()).hexdigest(),
        "owners": list(folders),
        "partition": partition,
        "seed": None if partition == "article" else seed,
        "alpha": alpha if partition == "dirichlet" else None,
    }
    earlier = {name: _manifest(folder) for name, folder in folders.items()}
    if all(manifest and manifest["settings"] == settings for manifest in earlier.values()):
        click.echo(f"{_names(folders)} have their messages from an earlier start.")
        return False
    if any(earlier.values()):
        click.echo("The settings, or the collection, are others than at the last deal: again.")
    with tempfile.TemporaryDirectory() as scratch:
        dealt = Path(scratch) / "dealt"
        summary = split_data(
            collection, dealt, list(folders), partition=partition, seed=seed, alpha=alpha
        )
        for name, folder in folders.items():
            manifest = {"settings": settings, "rows": summary["owners"][name]}
            _put(dealt, name, folder, manifest)
    print_table(split_table(summary))
    return True


def _manifest(folder: Path) -> dict[str, Any] | None:
    """How the folder's files were made, and their rows; None where they are not whole."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(manifest, dict) and manifest.keys() == {"settings", "rows"}
    return manifest if known and all((folder / file).is_file() for file in FILES.values()) else None


def _put(dealt: Path, name: str, folder: Path, manifest: dict[str, Any]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)  # files half replaced are not taken for whole
    except OSError as error:
        raise storage_error("write to", folder, error) from error
    for part, file in FILES.items():
        write_whole(folder / file, (dealt / f"{name}.{part}.tsv").read_bytes())
    write_whole(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())


def _names(folders: Mapping[str, Path]) -> str:
    *most, last = folders
    return f"{', '.join(most)} and {last}" if most else last


def _find(collection: Path) -> Path:
    """A file is the collection itself; a folder is where it is kept once it was downloaded."""
    if collection.is_dir():
        return find_data(source=Source(cache=collection))
    return find_data(collection)


@click.command(
    cls=ExamplesFirst,
    examples=("python scripts/compose/data.py --owner bob=/owners/bob --owner anne=/owners/anne",),
    help=__doc__,
    context_settings=HELP,
)
@owner_option("Where an owner's files go.")
@click.option(
    "--collection",
    type=click.Path(path_type=Path, exists=True),
    default=Path("/collection"),
    show_default=True,
    envvar="FEDSMS_COLLECTION",
    help="A file of messages, or the folder that keeps what is downloaded.",
)
@click.option(
    "--partition",
    type=click.Choice(get_args(Partition)),
    default="iid",
    show_default=True,
    envvar="FEDSMS_PARTITION",
    show_envvar=True,
)
@click.option(
    "--alpha",
    type=click.FloatRange(0.01, 1e6),
    default=0.3,
    show_default=True,
    envvar="FEDSMS_ALPHA",
    show_envvar=True,
    help="Of the partition dirichlet: the smaller, the more uneven.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=1,
    show_default=True,
    envvar="FEDSMS_SEED",
    show_envvar=True,
)
def main(
    owner: tuple[str, ...],
    collection: Path,
    partition: Partition,
    alpha: float,
    seed: int,
) -> None:
    folders = owners_of(owner)
    for name in list(folders):
        if brought := os.environ.get(f"{name.upper().replace('-', '_')}_DATA"):
            click.echo(f"{name} brings messages of their own: {brought}")
            del folders[name]
    if not folders:
        return
    if os.geteuid() == 0:
        own = [path for path in (*folders.values(), collection) if path.is_dir()]
        hand_over(own, NODE_UID, NODE_UID)
        become(NODE_UID)
    deal_out(folders, _find(collection), partition, seed=seed, alpha=alpha)


if __name__ == "__main__":
    run(main, "python scripts/compose/data.py")
