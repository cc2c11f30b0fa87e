"""The version of fedsms and of the wire protocol; both sides of a connection must agree on both."""

from __future__ import annotations

import importlib.metadata
import platform

FEDSMS = "0.1.0"
PROTOCOL = 6


def versions() -> dict[str, str]:
    """What is installed on this side, by name; read from package metadata, nothing is imported."""
    found = {"fedsms": FEDSMS, "python": platform.python_version()}
    for package in ("syft", "torch", "numpy", "websockets"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
