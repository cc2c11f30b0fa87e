"""A TOML file that a user wrote, as tables, and one error for each way in which it can be none."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from shared.errors import StorageError, UsageError
from shared.files import read_bytes


def read_toml(path: Path, name: str, next_step: str) -> dict[str, Any]:
    """The file's tables, not yet checked.

    Args:
        name: what the file is, for instance "the policy".
        next_step: of the errors.

    Raises:
        UsageError: no such file, or it is not TOML in UTF-8.
    """
    try:
        return tomllib.loads(read_bytes(path).decode("utf-8"))
    except StorageError as error:
        raise UsageError(f"cannot read {name} {path}", error.cause, next_step) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} {path} is not TOML", str(error), next_step) from error
