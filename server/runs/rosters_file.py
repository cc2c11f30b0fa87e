"""The rosters of a run's secure sums, kept in its folder for a coordinator that begins again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgpack
from pydantic import Field, TypeAdapter, ValidationError

from shared.errors import StorageError
from shared.files import is_present, read_bytes, write_whole
from shared.secure_aggregation.kinds import Sum

ROSTERS = "rosters.bin"
_MAX_BYTES = 4 * 2**20
_KEPT_ROUNDS = 2
"""The one that goes on, and the next, whose keys travel while this one is measured."""
_Rosters = dict[Annotated[int, Field(ge=1)], dict[Sum, bytes]]
_FOUND = TypeAdapter(_Rosters)


class RostersFile:
    """Rosters in a file, replaced whole.

    A file that is gone or damaged costs the round that goes on, and no more: nobody opens a sum
    for another roster.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ROSTERS
        self._kept = _read(self._path)

    def keep(self, number: int, rosters: Mapping[Sum, bytes]) -> None:
        """Raises StorageError where the file cannot be written."""
        kept = {**self._kept, number: dict(rosters)}
        self._kept = {one: kept[one] for one in sorted(kept)[-_KEPT_ROUNDS:]}
        write_whole(self._path, msgpack.packb(self._kept), durable=False)

    def kept(self, number: int) -> Mapping[Sum, bytes]:
        """A round's; empty where there are none."""
        return self._kept.get(number, {})


def _read(path: Path) -> _Rosters:
    try:
        if not is_present(path):
            return {}
        found = msgpack.unpackb(read_bytes(path, _MAX_BYTES), strict_map_key=False)
        return _FOUND.validate_python(found, strict=True)
    except (StorageError, ValidationError, ValueError, msgpack.UnpackException):
        return {}
