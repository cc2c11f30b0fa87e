"""What a server optimiser remembers, in the run folder beside the model that it belongs to.

A file a round, since two files cannot be replaced as one: it is there before the round's model is,
and the one of the round before goes only after that. So whatever round the model is of when a run
is killed, its moments are there, and a resumed run ends with the bits of one that nobody stopped.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from server.aggregation.server_optimizer import MOMENTS, Moments
from shared.errors import StorageError
from shared.files import read_bytes, write_whole
from shared.model.recipe import Recipe

MOMENTS_FILES = "server-optimizer-*.safetensors"
HEADER_BYTES = 2**16


def _path(folder: Path, number: int) -> Path:
    return folder / MOMENTS_FILES.replace("*", f"{number:05d}")


def save_moments(folder: Path, number: int, moments: Moments) -> None:
    """Writes those after a round; nothing where there are none. Raises StorageError."""
    if moments:
        write_whole(_path(folder, number), safetensors.numpy.save(dict(moments)))


def load_moments(folder: Path, completed: int, recipe: Recipe) -> Moments:
    """Those after a run's last completed round; empty before the first, and without an optimiser.

    Raises:
        StorageError: they are not there, or damaged, or another model's.
    """
    names = MOMENTS[recipe.federation.server_optimizer]
    if not completed or not names:
        return {}
    path = _path(folder, completed)
    most = 8 * len(names) * recipe.parameters + HEADER_BYTES
    try:
        found = safetensors.numpy.load(read_bytes(path, most))
    except (SafetensorError, KeyError) as error:  # KeyError: a dtype that numpy does not know
        raise _damaged(path, str(error)) from error
    shape = (recipe.parameters,)
    fit = all(one.shape == shape and one.dtype == np.float64 for one in found.values())
    if set(found) != set(names) or not fit:
        raise _damaged(path, f"it does not hold {' and '.join(names)} moments of the run's model")
    if not all(np.isfinite(one).all() for one in found.values()):
        raise _damaged(path, "it holds numbers that are not finite")
    return found


def drop_moments(folder: Path, but: int) -> None:
    """Removes those of all rounds but one; one that cannot be removed costs space alone."""
    for path in folder.glob(MOMENTS_FILES):
        if path != _path(folder, but):
            with suppress(OSError):
                path.unlink()


def _damaged(path: Path, why: str) -> StorageError:
    return StorageError(
        f"the run cannot be resumed: {path} is damaged",
        why,
        "Train anew, or put a copy of the file in its place, if there is one.",
    )
