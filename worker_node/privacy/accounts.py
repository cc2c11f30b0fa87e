"""What the lines of a ledger add up to: reservations, what was charged to them, what is spent.

    reserve   a run is admitted, with all the releases that it may ask for
    charge    noise is about to be drawn for one of them
    answer    what it gave is stored, and may leave
    close     the run asks for no more: what was not charged comes back

A run's releases count as spent from `reserve` on. Nothing here reads a clock or a row: what was
told stays told, whatever rows there are now.

What a run of unit "owner" tells of an owner it tells of each of the messages at most, and so it
counts for both units. A run of unit "message" bounds nothing of an owner, who has any number of
messages: for the unit "owner" it is without bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from shared.model.recipe import Unit

Part = Literal["training", "held_out"]


class Run(NamedTuple):
    """Whose run, by its id, and on which rows."""

    who: str
    run: str
    part: Part


@dataclass(frozen=True)
class Terms:
    """What a run may ask for, and what it tells.

    releases: how many. recipe: digest of its recipe, in hexadecimal.
    mu: of all releases together, towards a coordinator, with the noise that others add.
    alone: the same towards all others together, who know their own noise.
    unit: of what mu is.
    """

    releases: int
    recipe: str
    mu: float
    alone: float
    unit: Unit = "message"

    def mu_of(self, unit: Unit) -> float:
        """Of a unit, which need not be the run's own; infinite where nothing bounds it."""
        return math.inf if (unit, self.unit) == ("owner", "message") else self.mu

    def alone_of(self, unit: Unit) -> float:
        """The same towards all others together."""
        return math.inf if (unit, self.unit) == ("owner", "message") else self.alone


@dataclass
class Reservation:
    """A run as far as it got.

    charged: digest of what was asked, by round. answered: digest of what may leave, by round.
    """

    terms: Terms
    charged: dict[int, str] = field(default_factory=dict)
    answered: dict[int, str] = field(default_factory=dict)
    closed: bool = False

    @property
    def share(self) -> float:
        """Of its releases, how many count as spent."""
        return (len(self.charged) if self.closed else self.terms.releases) / self.terms.releases


class Accounts:
    """All runs of a ledger."""

    def __init__(self, lines: Iterable[Mapping[str, Any]] = ()) -> None:
        self.runs: dict[Run, Reservation] = {}
        for line in lines:
            self.take(line)

    def take(self, line: Mapping[str, Any]) -> None:
        """Adds one line.

        Raises:
            ValueError: it is none, or cannot follow those before it.
        """
        try:
            self._take(line)
        except (KeyError, TypeError) as error:
            raise ValueError("a line that this version does not know") from error

    def _take(self, line: Mapping[str, Any]) -> None:
        which = Run(line["who"], line["run"], line["part"])
        if line["what"] == "reserve":
            if which in self.runs:
                raise ValueError("a run that was reserved twice")
            self.runs[which] = Reservation(
                Terms(
                    line["releases"],
                    line["recipe"],
                    line["mu"],
                    line["alone"],
                    _unit(line.get("unit", "message")),  # older ledgers have no other
                )
            )
            return
        found = self.runs[which]
        match line["what"]:
            case "charge":
                found.charged[line["round"]] = line["inputs"]
            case "answer":
                found.answered[line["round"]] = line["told"]
            case "close":
                found.closed = True
            case other:
                raise KeyError(other)

    def spent(self, part: Part, unit: Unit = "message") -> tuple[float, float]:
        """The mu of all that was told, or may be, of rows of a part; and towards all others.

        Args:
            unit: of what it is told. Infinite where nothing bounds it.
        """
        of_part = [one for run, one in self.runs.items() if run.part == part and one.share]
        mu = math.sqrt(sum(one.share * one.terms.mu_of(unit) ** 2 for one in of_part))
        alone = math.sqrt(sum(one.share * one.terms.alone_of(unit) ** 2 for one in of_part))
        return mu, alone


def _unit(told: object) -> Unit:
    """Raises ValueError for a unit that this version does not know."""
    if told == "message" or told == "owner":
        return told
    raise ValueError("a unit that this version does not know")
