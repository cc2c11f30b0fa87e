"""What a setting is: declared once, where its value lives, and read by everything that handles it.

A setting is a field of RunSettings (server/runs/settings.py), of Timeouts, or of a recipe's
[federation] table. From its declaration come its flag and its line in `--help`
(server/cli/setting_options.py), its FEDSMS_ variable, its key in federation.toml
(server/runs/federation_file.py), its place in settings.json, and what a resumed run may change
(server/runs/resume.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel

TrainingMode = Literal["rounds", "pointers"]
"""How a run trains: on all nodes at once and averaged, or batch by batch where the batch is."""

SecureWanted = Literal["auto", "on", "off"]
"""Whether rounds are to have secure aggregation; "auto" leaves it to what their nodes can."""

Tracked = Literal["off", "tensorboard,mlflow", "tensorboard", "mlflow"]
"""Which trackers a run's figures go to besides its folder."""

BOTH: tuple[TrainingMode, ...] = ("rounds", "pointers")
ROUNDS_ONLY: tuple[TrainingMode, ...] = ("rounds",)
PLAIN = (int, float, bool, str, Path)
"""Types of values that are taken as they are; what has another is parsed from a text."""


class Group(StrEnum):
    """Under which heading `train --help` shows a setting."""

    TRAINED = "What is trained"
    WHO = "Who takes part"
    FAILS = "When something fails"
    WHERE = "Where it goes"


@dataclass(frozen=True)
class Setting:
    """One setting of a run.

    name: of its key; the flag is --name-with-dashes, the variable FEDSMS_NAME.
    path: where its value lives, as attributes from a RunSettings on.
    type: int, float, bool, str or Path; what is parsed from a text has str.
    default: None has none: then `otherwise` says what counts.
    choices: the words it may be; () any.
    bare: the value of the flag without one; None demands one.
    is_parsed: the value is made from a text, such as "3" or "0.8".
    at_least, at_most, below: bounds; None sets none.
    decides: the weights depend on it, so a resumed run takes no other.
    may_change: a resumed run may be given another.
    modes: in which it means something.
    """

    name: str
    path: str
    group: Group
    help: str
    type: type
    default: Any
    otherwise: str = ""
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None
    bare: str | None = None
    is_parsed: bool = False
    decides: bool = False
    may_change: bool = False
    modes: tuple[TrainingMode, ...] = BOTH

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        return f"FEDSMS_{self.name.upper()}"

    def of(self, settings: Any) -> Any:
        """Its value in a run's settings."""
        for part in self.path.split("."):
            settings = getattr(settings, part)
        return settings


def setting(default: Any, group: Group, help: str, **facts: Any) -> Any:  # noqa: A002 - its name
    """A dataclass's field that is a setting; further facts as Setting has them."""
    return dataclasses.field(default=default, metadata={"group": group, "help": help, **facts})


def of_dataclass(owner: type, path: str = "", **common: Any) -> Iterable[Setting]:
    """The settings among a dataclass's fields: those with a `help` in their metadata.

    Args:
        path: where a value of the class lives in a RunSettings; "" is the RunSettings itself.
        common: facts of each that its metadata does not name.
    """
    hints = get_type_hints(owner)
    for each in dataclasses.fields(owner):
        if "help" in each.metadata:
            facts = {"name": each.name, **common, **each.metadata}
            facts |= _type_facts(hints[each.name])
            yield Setting(path=_joined(path, each.name), default=each.default, **facts)


def of_table(owner: type[BaseModel], path: str, **common: Any) -> Iterable[Setting]:
    """A setting for each key of a recipe's table; without a value the recipe's own counts."""
    for name, field in owner.model_fields.items():
        bounds = {fact: _bound(field.metadata, what) for fact, what in _BOUNDS.items()}
        extra: Any = field.json_schema_extra or {}
        facts = {**common, **bounds, **_type_facts(field.annotation)}
        if "modes" in extra:
            facts["modes"] = tuple(extra["modes"])
        yield Setting(
            name=name,
            path=_joined(path, name),
            help=field.description or "",
            default=None,
            otherwise="the recipe's",
            **facts,
        )


_BOUNDS = {"at_least": "ge", "at_most": "le", "below": "lt"}


def _bound(metadata: Iterable[Any], what: str) -> Any:
    return next((getattr(one, what) for one in metadata if hasattr(one, what)), None)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _type_facts(hint: Any) -> dict[str, Any]:
    """Type and choices, of an annotation that may allow None."""
    plain = [one for one in get_args(hint) or (hint,) if one is not type(None)]
    if get_origin(hint) is Literal:
        return {"type": str, "choices": get_args(hint)}
    is_plain = plain[0] in PLAIN
    return {"type": plain[0] if is_plain else str, "is_parsed": not is_plain}
