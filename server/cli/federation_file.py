"""federation.toml: who is in the federation and how it trains, where flags would be too long.

    recipe = "default"
    rounds = 15
    seed = 1

    [nodes]
    bob = "wss://10.0.0.7:8777"
    anne = "wss://10.0.0.8:8777"

Each key is the name of a flag of `python -m server train`. A flag wins over the environment, the
environment over the file, the file over the default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import click
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.errors import UsageError
from shared.files import read_toml
from shared.model.recipe import explain

Seconds = Annotated[float | None, Field(ge=0, le=1e9)]
DEFAULT_FILE = Path("federation.toml")


class FederationFile(BaseModel):
    """The keys that a federation.toml may have; unknown ones are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    nodes: dict[str, str] = Field(default_factory=dict)
    recipe: str | None = None
    rounds: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    run_dir: str | None = None
    name: str | None = None
    checkpoints: int | None = Field(default=None, ge=0)
    identity: str | None = None
    insecure: bool | None = None
    mode: Literal["rounds", "pointers"] | None = None
    replay: bool | None = None
    min_nodes: int | float | str | None = None
    cohort: int | None = Field(default=None, ge=0)
    aggregation: str | None = None
    norm_bound: float | None = Field(default=None, ge=1)
    trim: float | None = Field(default=None, ge=0, lt=0.5)
    connect_timeout: Seconds = None
    handshake_timeout: Seconds = None
    transfer_timeout: Seconds = None
    train_timeout: Seconds = None
    evaluate_timeout: Seconds = None
    heartbeat: Seconds = None
    round_deadline: Seconds = None
    rejoin_window: Seconds = None
    reconnect_limit: Seconds = None
    quorum_wait: Seconds = None

    def as_defaults(self) -> dict[str, Any]:
        """Values for click's `default_map`, by parameter name."""
        values = self.model_dump(exclude_none=True, exclude={"nodes"})
        if self.min_nodes is not None:
            values["min_nodes"] = str(self.min_nodes)
        if self.nodes:
            values["node"] = [f"{node}={url}" for node, url in self.nodes.items()]
        return values


def read_federation(path: Path) -> FederationFile:
    """Raises UsageError: no such file, not TOML, an unknown key, or a value out of bounds."""
    tables = read_toml(
        path, "the federation file", "docs/commands.md shows one; --node does without."
    )
    try:
        return FederationFile.model_validate(tables)
    except ValidationError as error:
        problems = "; ".join(explain(FederationFile, item) for item in error.errors())
        raise UsageError(f"{path} is not a valid federation", problems) from error


def use_federation(ctx: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Callback of the eager --federation flag: the file's values become the flags' defaults."""
    if path is None and DEFAULT_FILE.is_file():
        path = DEFAULT_FILE
    if path is not None:
        known = {parameter.name for parameter in ctx.command.params}
        values = read_federation(path).as_defaults()
        ctx.default_map = {key: value for key, value in values.items() if key in known}
    return path
