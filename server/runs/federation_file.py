"""federation.toml: who is in the federation and how it trains, where flags would be too long.

    recipe = "default"
    rounds = 15
    seed = 1

    [nodes]
    bob = "wss://10.0.0.7:8777"
    anne = "wss://10.0.0.8:8777"
    carol = ""                      # dials in, where `listen = "0.0.0.0:8770"` says

`at = ["02:00"]` and `when = "min_nodes"` are the schedule of `python -m server up`.

Each key is the name of a flag of `python -m server train`, and of an argument of Federation. A flag
wins over the environment, the environment over the file, the file over the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from server.runs.setting import Setting
from server.runs.settings import BY_NAME, SETTINGS
from shared.errors import UsageError
from shared.files import read_toml
from shared.model.recipe import explain

DEFAULT_FILE = Path("federation.toml")


class OfCommands(BaseModel):
    """The keys that are no settings of a run, and what is done with all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    nodes: dict[str, str] = Field(default_factory=dict)
    listen: str | None = None
    identity: str | None = None
    insecure: bool | None = None
    at: list[str] = Field(default_factory=list)
    when: Literal["min_nodes"] | None = None

    def as_defaults(self) -> dict[str, Any]:
        """Values for click's `default_map`, by parameter name."""
        values = self.model_dump(exclude_none=True, exclude={"nodes"})
        values = {name: _as_a_flag(name, value) for name, value in values.items() if value != []}
        if self.nodes:
            values["node"] = [f"{node}={url}" if url else node for node, url in self.nodes.items()]
        return values


def _as_a_flag(name: str, value: Any) -> Any:
    """As somebody would type it, where the setting is parsed from a text: 0.8, or "0.8"."""
    one = BY_NAME.get(name)
    return str(value) if one is not None and one.type is str else value


def _of_bool(bare: str, value: Any) -> Any:
    """Yes and no for a setting whose flag may stand alone."""
    return {True: bare, False: "off"}[value] if isinstance(value, bool) else value


def _key_of(one: Setting) -> Any:
    """The type of a setting's key, for pydantic."""
    plain: Any = str if one.type is Path else one.type
    if one.choices:
        plain = Literal[one.choices]
    if one.is_parsed:
        plain = int | float | str
    if one.bare is not None:
        plain = Annotated[plain, BeforeValidator(partial(_of_bool, one.bare))]
    bounds = Field(default=None, ge=one.at_least, le=one.at_most, lt=one.below)
    return (plain | None, bounds if one.type in (int, float) else None)


FederationFile = create_model(
    "FederationFile", __base__=OfCommands, **{one.name: _key_of(one) for one in SETTINGS}
)
"""The keys that a federation.toml may have; unknown ones are errors."""


def read_federation(path: Path) -> OfCommands:
    """Raises UsageError: no such file, not TOML, an unknown key, or a value out of bounds."""
    tables = read_toml(
        path, "the federation file", "docs/commands.md shows one; --node does without."
    )
    return checked(tables, str(path))


def checked(values: Mapping[str, Any], source: str) -> OfCommands:
    """The keys of a federation file, from wherever they come.

    Raises:
        UsageError: an unknown key, or a value out of bounds.
    """
    try:
        return FederationFile.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(explain(FederationFile, item) for item in error.errors())
        raise UsageError(f"{source} is not a valid federation", problems) from error
