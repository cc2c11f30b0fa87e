"""Models that coordinators handed out, kept for the node's owner: a few small folders on the disk.

Each is made whole under a name that nobody reads, and gets its own by one rename, so that a crash
at any moment leaves whole models alone. Inside are safetensors and JSON, and nothing that runs.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import StorageError
from shared.files import make_folder, read_bytes, storage_error, sync_folder
from shared.model.recipe import Recipe
from shared.secure_aggregation.contents import state_digest
from shared.trained_model.saved_model import (
    CONFIG,
    WEIGHTS,
    SavedModel,
    load,
    newest,
    save,
    saved_at,
)

if TYPE_CHECKING:  # it loads torch
    from shared.model.vectors import Vector

MODELS = "models"
_KEPT = re.compile(r"\d{8}-\d{6}-\d{6}-[0-9a-f]{12}")
"""Names of kept models; whatever else lies there is the owner's."""
_UNFINISHED, _GONE = ".new-", ".gone-"


@dataclass(frozen=True)
class Origin:
    """Where a model came from.

    coordinator: who handed it out. certificate: its fingerprint; "" without TLS.
    run, round, rounds: after which round of how many of its run.
    model: SHA-256 in hexadecimal of its numbers.
    measured_here: whether this node measured this very model before.
    """

    coordinator: str
    certificate: str
    run: str
    round: int
    rounds: int
    model: str
    measured_here: bool


class KeptModels:
    """One node's models. Its methods block, and may be called from any thread.

    Args:
        folder: made when the first model comes; None has no place for any.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    @property
    def folders(self) -> list[Path]:
        """Of the models that are kept, in no order."""
        if self.folder is None or not self.folder.is_dir():
            return []
        paths = self.folder.iterdir()
        return [path for path in paths if _KEPT.fullmatch(path.name) and not path.is_symlink()]

    def has(self, origin: Origin) -> bool:
        """Whether this model, of this run, is kept already."""
        same = (origin.coordinator, origin.run, origin.model)
        return any(_from(path) == same for path in self.folders)

    def keep(self, recipe: Recipe, state: Vector, origin: Origin, most: int) -> Path:
        """Keeps a state (P,); the oldest beyond `most` go, and an earlier one of its run.

        Returns:
            Its folder, once it is on disk.

        Raises:
            StorageError: it cannot be written; those that were there are still there.
        """
        assert self.folder is not None
        with self._lock:
            make_folder(self.folder)
            try:
                self._sweep()
                self._thin(most)  # a crash may have left one more, but never two
                path = self._write(SavedModel(recipe, state), origin)
                self._thin(most - 1, origin, path)
            except OSError as error:
                raise storage_error("write", self.folder, error) from error
        return path

    def _write(self, saved: SavedModel, origin: Origin) -> Path:
        assert self.folder is not None
        made = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.folder))
        try:
            save(made, saved, asdict(origin))
            name = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{origin.model[:12]}"
            path = made.rename(self.folder / name)
            sync_folder(self.folder)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        return path

    def _thin(self, most: int, of: Origin | None = None, new: Path | None = None) -> None:
        """Removes the oldest beyond `most`, the new one not among them, and the others of a run."""
        others = sorted(
            (path for path in self.folders if path != new),
            key=lambda path: (saved_at(path / CONFIG), path.name),
        )
        of_its_run = [
            path
            for path in others
            if of is not None and _from(path)[:2] == (of.coordinator, of.run)
        ]
        older = [path for path in others if path not in of_its_run]
        for path in [*of_its_run, *older[: max(0, len(older) - most)]]:
            gone = path.rename(path.with_name(f"{_GONE}{path.name}"))
            shutil.rmtree(gone)

    def _sweep(self) -> None:
        """Removes what a crash left unfinished."""
        assert self.folder is not None
        for path in self.folder.iterdir():
            if path.name.startswith((_UNFINISHED, _GONE)) and not path.is_symlink():
                shutil.rmtree(path)


def open_kept(model: Path | None, models: Path) -> tuple[Path, SavedModel, dict[str, object]]:
    """The named model, or the newest of those that are kept, and what its config says.

    Args:
        models: the folder of those that are kept.

    Raises:
        StorageError: there is none, or it is damaged, or is another than was handed out.
    """
    if model is None and not KeptModels(models).folders:
        raise _none(models)
    folder = model if model is not None else newest(models)
    saved = load(folder)
    config = json.loads(read_bytes((folder.parent if folder.name == WEIGHTS else folder) / CONFIG))
    digest = config.get("model")
    if digest is not None and state_digest(saved.state).hex() != digest:
        raise StorageError(
            f"the model in {folder} is not the one that was handed out",
            "its numbers have another digest than its config says",
            "Name another with --model, or have it handed out again.",
        )
    return folder, saved, config


def _none(models: Path) -> StorageError:
    return StorageError(
        f"there is no model that a coordinator handed out in {models}",
        next_step="Ask its coordinator for: python -m server train --hand-out. Or name a folder "
        "with --model or --models.",
    )


def _from(path: Path) -> tuple[object, object, object]:
    """Coordinator, run and digest of a kept model; nothing where it does not say."""
    try:
        config = json.loads(read_bytes(path / CONFIG))
        return config["coordinator"], config["run"], config["model"]
    except (StorageError, ValueError, RecursionError, KeyError, TypeError):
        return None, None, None
