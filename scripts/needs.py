"""Packages that one script alone needs, asked for before it begins its work."""

from __future__ import annotations

import importlib.util

from shared.errors import UsageError


def need(*packages: str, requirements: str = "requirements-dev.txt") -> None:
    """Raises UsageError, with the line that installs them, where one cannot be imported."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"this needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed",
            next_step=f"Install it with: pip install --no-deps -r {requirements}",
        )
