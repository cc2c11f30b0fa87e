"""What only some commands need beside requirements.txt: packages of a requirements-EXTRA.txt."""

from __future__ import annotations

import importlib.util
import os

from shared.errors import UsageError

IN_IMAGE = "FEDSMS_IMAGE"
"""Set in fedsms's own images."""


def check_extra(flag: str, package: str, extra: str) -> None:
    """Imports nothing.

    Args:
        flag: what needs it, as the error names it.
        package: one that is imported; those that it needs in turn are in the same file.

    Raises:
        UsageError: the package is not here; says how to get it.
    """
    if importlib.util.find_spec(package) is None:
        raise UsageError(
            f"{flag} needs the package {package}, which is not installed",
            next_step=how_to_install(extra),
        )


def how_to_install(extra: str) -> str:
    """What to do where the packages of requirements-EXTRA.txt are not here.

    An image is read-only, and holds no installer: there the way is to build it with them.
    """
    if IN_IMAGE in os.environ:
        return (
            f"Build the image with it: docker build --build-arg EXTRAS={extra}; with Compose, "
            f"EXTRAS={extra} in .env, then docker compose build"
        )
    return f"Install it with: pip install --no-deps -r requirements-{extra}.txt"
