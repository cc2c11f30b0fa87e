"""A trained model on disk: `model.safetensors` and `config.json` in one folder.

The weights are readable with safetensors alone, by the names of the model's `state_dict`; the
config holds the recipe and the digest of the tokeniser that the ids mean something under.
"""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from shared.errors import FedsmsError, StorageError
from shared.files import open_regular, read_bytes, write_whole
from shared.model.layout import layout
from shared.model.recipe import Recipe
from shared.model.text import fingerprint_of, tokeniser_fingerprint

if TYPE_CHECKING:  # it imports torch, which predicting does without
    from shared.model.vectors import Vector

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
HEADER_BYTES = 2**20
"""Room for the names and shapes before the weights."""


@dataclass(frozen=True)
class SavedModel:
    """A recipe and the state (P,) of its model."""

    recipe: Recipe
    state: Vector


def named_weights(model: SavedModel) -> dict[str, Vector]:
    """The state cut into the model's named tensors; views, not copies."""
    cut, start = {}, 0
    for name, shape in layout(model.recipe).items():
        end = start + math.prod(shape)
        cut[name] = model.state[start:end].reshape(shape)
        start = end
    return cut


def save(folder: Path, model: SavedModel, facts: dict[str, Any]) -> None:
    """Writes both files, each whole or not at all.

    Args:
        facts: what else the config should say, for instance where the model came from.

    Raises:
        StorageError: the folder cannot be written to.
    """
    config = {
        "format": 1,
        "recipe": model.recipe.model_dump(),
        "tokeniser": tokeniser_fingerprint(),
        "saved": datetime.now(UTC).isoformat(timespec="microseconds"),
        **facts,
    }
    # The round in the weights' own file: after a crash the config may be that of the round before.
    about = {"round": str(facts["round"])} if "round" in facts else None
    write_whole(folder / WEIGHTS, safetensors.numpy.save(named_weights(model), about))
    write_whole(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())


def load(path: Path) -> SavedModel:
    """The model in a run folder.

    Args:
        path: the folder, or the model.safetensors in it.

    Raises:
        StorageError: there is none, or it is damaged, or was made by another tokeniser.
    """
    folder = path.parent if path.name == WEIGHTS else path
    config = _config(folder)
    recipe = Recipe.parse(config.get("recipe"), source=str(folder / CONFIG))
    # of it alone what this model reads: a cleaning that came later makes no older model unfit
    there = config.get("tokeniser")
    known = there if isinstance(there, dict) else {}
    if any(known.get(name) != value for name, value in fingerprint_of(recipe.text).items()):
        raise StorageError(
            f"the model in {folder} was trained with another tokeniser",
            "its words have other ids here",
            "Use the version of fedsms that trained it, or train again.",
        )
    return SavedModel(recipe, load_state(folder, recipe))


def load_state(folder: Path, recipe: Recipe) -> Vector:
    """The weights (P,) in a folder alone, for a recipe that is known.

    Raises:
        StorageError: there are none, or they are damaged, or another model's.
    """
    try:
        tensors = safetensors.numpy.load(read_bytes(folder / WEIGHTS, _most_bytes(recipe)))
    except (SafetensorError, KeyError) as error:  # KeyError: a dtype that numpy does not know
        raise StorageError(f"{folder / WEIGHTS} is damaged", str(error)) from error
    names = layout(recipe)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    if shapes != names or any(tensor.dtype != np.float32 for tensor in tensors.values()):
        raise StorageError(f"{folder / WEIGHTS} does not hold the model that {CONFIG} describes")
    state = np.concatenate([tensors[name].ravel() for name in names])
    if not np.isfinite(state).all():
        raise StorageError(f"{folder / WEIGHTS} is damaged", "it holds numbers that are not finite")
    return state


def _most_bytes(recipe: Recipe) -> int:
    return 4 * recipe.parameters + HEADER_BYTES


def _require_size(path: Path, recipe: Recipe) -> None:
    """Before safetensors maps the file into memory, or waits for whoever writes into a pipe."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
    if size > _most_bytes(recipe):
        raise StorageError(f"{path} is damaged", f"{size:,} bytes, more than its model has")


def round_of(folder: Path, recipe: Recipe) -> int:
    """The round that the weights in a folder are of; 0 where there are none.

    Raises:
        StorageError: they do not say, or are damaged.
    """
    path = folder / WEIGHTS
    if not path.exists():
        return 0
    try:
        _require_size(path, recipe)
        with safe_open(path, framework="numpy") as file:
            return int((file.metadata() or {})["round"])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise StorageError(f"{path} does not say which round it is of", str(error)) from error


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads(read_bytes(folder / CONFIG))
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{folder / CONFIG} is damaged", str(error)) from error
    if not isinstance(config, dict):
        raise StorageError(f"{folder / CONFIG} is damaged", "it holds no table")
    return config


def newest(runs: Path) -> Path:
    """The newest run folder that holds a model, by what the models say of themselves.

    The times of files tell when they were copied.

    Raises:
        StorageError: there is none.
    """
    there = (path for path in runs.glob(f"*/{CONFIG}") if not path.parent.name.startswith("."))
    found = sorted(there, key=lambda path: (saved_at(path), path.parent.name))
    if not found:
        raise StorageError(
            f"there is no trained model in {runs}",
            next_step="Train one first, or name its folder with --model.",
        )
    return found[-1].parent


def saved_at(config: Path) -> datetime:
    """When a model was saved; of one that does not say, when its run began, by the folder's name.

    What says neither is older than all others, and what is damaged so too: it must not hide them.
    """
    try:
        when = datetime.fromisoformat(_config(config.parent).get("saved", ""))
        return when.astimezone(UTC)
    except (StorageError, ValueError, TypeError, OverflowError):
        stamp = _STAMP.match(config.parent.name)
    try:
        return datetime.strptime(stamp[0] if stamp else "", "%Y%m%d-%H%M%S").astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)


_STAMP = re.compile(r"\d{8}-\d{6}")


def open_model(model: Path | None, runs: Path) -> tuple[Path, SavedModel]:
    """The named model, or the newest one; raises StorageError as `load` and `newest` do."""
    folder = model if model is not None else newest(runs)
    try:
        return folder, load(folder)
    except StorageError:
        raise
    except FedsmsError as error:
        raise StorageError(f"cannot use the model in {folder}", str(error)) from error
