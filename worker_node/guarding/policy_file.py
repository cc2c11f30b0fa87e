"""policy.toml: found, read and checked, and the commented example, written from the rules."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from shared.errors import UsageError
from shared.files import is_present, read_toml, write_whole
from shared.model.recipe import explain
from worker_node.guarding.policy import Policy

POLICY = "policy.toml"
_NEXT_STEP = "docs/policy.toml has every rule, its explanation and its default."
_HEAD = """\
# The policy of this node's owner. What is left out counts as written here, so this file as it is
# changes nothing. Change a value, and start the node again. A key that is not known is an error.
"""


def find_policy(named: Path | None, identity: Path | None) -> tuple[Policy, Path | None]:
    """The policy to serve with, and its file; the defaults and None where there is no file.

    Args:
        named: a file that must be there; None looks in the identity folder, then in this one.
        identity: the identity folder; None where the node has none.

    Raises:
        UsageError: the file is missing, no TOML, or holds what is no policy.
    """
    if named is not None:
        return read_policy(named), named
    folders = [identity, Path()] if identity is not None else [Path()]
    for path in (folder / POLICY for folder in folders):
        if is_present(path):
            return read_policy(path), path
    return Policy(), None


def read_policy(path: Path) -> Policy:
    """Raises UsageError that names every wrong key."""
    tables = read_toml(path, "the policy", _NEXT_STEP)
    try:
        return Policy.model_validate(tables)
    except ValidationError as error:
        problems = "; ".join(explain(Policy, item) for item in error.errors())
        raise UsageError(f"{path} is not a valid policy", problems, _NEXT_STEP) from error


def example() -> str:
    """A policy.toml of all rules, their explanations and their defaults."""
    return "\n".join([_HEAD.rstrip(), *_lines(Policy())]) + "\n"


def write_example(folder: Path) -> Path | None:
    """Writes the example, unless there is a policy already; gives its path where it was written.

    Raises StorageError.
    """
    path = folder / POLICY
    if is_present(path):
        return None
    write_whole(path, example().encode())
    return path


def _lines(table: BaseModel) -> list[str]:
    lines: list[str] = []
    tables: list[str] = []
    for name, field in type(table).model_fields.items():
        value = getattr(table, name)
        if isinstance(value, BaseModel):
            about = (value.__doc__ or "").splitlines()[0]
            tables += ["", "", f"# {about}", f"[{name}]", *_lines(value)[1:]]
        else:
            lines += ["", *_comment(field.description or ""), f"{name} = {_toml(value)}"]
    return lines + tables


def _comment(text: str) -> list[str]:
    return textwrap.indent(text, "# ").splitlines()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:_}" if value >= 10_000 else str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"'
