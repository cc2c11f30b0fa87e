"""How a command starts: where Python or a package is not as it must be, one line says what to type.

Older Pythons read this file and those that lead here, in order to say so.
"""

from __future__ import annotations

import importlib
import shlex
import sys
from pathlib import Path
from typing import Any, Mapping, NoReturn  # noqa: UP035 - as old Pythons have it

OLDEST, NEWEST = (3, 11), (3, 14)
"""The Pythons for which the pinned torch is built; scripts/_environment.sh has the same."""

ROOT = Path(__file__).resolve().parents[1]
_OURS = ("server", "shared", "worker_node")


class NotSetUp(ImportError):
    """This Python is none of ours, or lacks a package that fedsms needs."""


def start(module: str, name: str) -> NoReturn:
    """Runs a command line, the `main` of a module, and ends the process.

    Args:
        name: what was typed, "fedsms" or "python -m server".
    """
    try:
        command = load(module, "main")
        load("shared.cli", "run")(command, name)
    except ImportError as error:
        told = error if isinstance(error, NotSetUp) else _missing(error)
        if told is None:
            raise
        sys.stderr.write(f"error: {told}\n")
    sys.exit(1)


def load(module: str, name: str) -> Any:
    """A name of a module, loaded now.

    Raises:
        NotSetUp: this Python is too old or too new, or a package is missing.
    """
    version = tuple(sys.version_info[:2])
    if not OLDEST <= version <= NEWEST:
        raise NotSetUp(f"fedsms needs Python {_range()}, and this is {_dotted(version)}; {_type()}")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        told = _missing(error)
        if told is None:
            raise
        raise told from None


def load_by_name(package: str, homes: Mapping[str, str], name: str) -> Any:
    """What a package's `__getattr__` gives: a name of the modules that have it; asked for once.

    Raises:
        AttributeError: none has it. NotSetUp: as `load` has it.
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    found = load(homes[name], name)
    setattr(sys.modules[package], name, found)
    return found


def _missing(error: ImportError) -> NotSetUp | None:
    """None where the error is about no package of others."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    package = error.name.split(".")[0]
    if package in _OURS:
        return None
    return NotSetUp(f"{package} is not installed in {sys.executable}; {_type()}")


def _type() -> str:
    setup, activate = ROOT / "scripts" / "setup", ROOT / ".venv" / "bin" / "activate"
    if not setup.exists():  # an image, which has no set-up of its own
        return "install what requirements.txt names"
    steps = [f". {shlex.quote(str(activate))}"]
    if not activate.exists() or Path(sys.prefix) == ROOT / ".venv":
        steps.insert(0, shlex.quote(str(setup)))
    return f"type: {' && '.join(steps)}"


def _range() -> str:
    return f"{_dotted(OLDEST)} to {_dotted(NEWEST)}"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
